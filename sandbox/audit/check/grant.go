package check

import (
	"fmt"
	"strings"
)

// CallGrant is the grant of a system call with its arguments, by one of the ways into the kernel: native, i386, x32.
func CallGrant(name, abi string, args [6]uint64) string {
	return fmt.Sprintf("call:%s %s %d %d %d %d %d %d", name, abi, args[0], args[1], args[2], args[3], args[4], args[5])
}

// ReadCall takes apart what stands behind "call:".
func ReadCall(what string) (name, abi string, args [6]uint64, ok bool) {
	n, _ := fmt.Fscan(strings.NewReader(what), &name, &abi, &args[0], &args[1], &args[2], &args[3], &args[4], &args[5])
	return name, abi, args, n == 8
}
