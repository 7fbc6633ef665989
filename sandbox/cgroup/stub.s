// The runtime's functions in watch.go have no body here; the compiler takes that only beside an assembly file.
