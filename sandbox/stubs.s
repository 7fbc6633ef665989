// This file lets child.go declare functions without a body; they are linked from the runtime.
