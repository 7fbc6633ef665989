package sandbox

// supervisingHere is empty: the processor has no older names of calls.
var supervisingHere []uintptr
