// Empty: lets the compiler accept the body-less functions that linkname supplies.
