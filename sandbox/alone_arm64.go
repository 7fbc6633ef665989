package sandbox

// aloneCallsHere is empty: the processor has no older names of calls.
var aloneCallsHere []uintptr
