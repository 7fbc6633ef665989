package sandbox

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sessionKeyring leaves the caller's session keyring, whose keys a program could read, for an empty one: keyctl(2).
// A user may have 200 keys (kernel.keys.maxkeys), and the kernel counts each keyring until the last process with it is
// gone, and some kernels until their collector has come by. Where there is none to be had the calls that reach any keyring are answered with the same
// errno, for the sandbox as a whole: without a keyring of its own the program has the caller's.
type sessionKeyring struct{}

func (sessionKeyring) String() string {
	return "join a new session keyring, or shut all keyrings where the user may have no more"
}

func (sessionKeyring) lower(a *assembler) {
	joined := a.fd(unix.SYS_KEYCTL, val(unix.KEYCTL_JOIN_SESSION_KEYRING), val(0))
	a.rows[len(a.rows)-1].tolerate(unix.EDQUOT, unix.ENOSYS)
	a.op(opPass, joined, val(1))
	filter := noKeyrings(runtime.GOARCH)
	a.op(unix.SYS_SECCOMP, val(unix.SECCOMP_SET_MODE_FILTER), val(0),
		a.fprog(unsafe.Slice((*byte)(unsafe.Pointer(&filter[0])), len(filter)*int(unsafe.Sizeof(filter[0])))))
	a.free = append(a.free, uint8(joined.v))
}

// keyCalls are add_key, request_key and keyctl of an ABI.
type keyCalls struct {
	arch  uint32 // AUDIT_ARCH_*
	calls [3]uint32
}

// noKeyrings answers the calls for keys with EDQUOT, by every ABI of the machine, and lets all others through.
func noKeyrings(goarch string) []unix.SockFilter {
	native := keyCalls{calls: [3]uint32{unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY, unix.SYS_KEYCTL}}
	var compat keyCalls
	switch goarch {
	case "amd64":
		native.arch = unix.AUDIT_ARCH_X86_64
		compat = keyCalls{unix.AUDIT_ARCH_I386, [3]uint32{286, 287, 288}}
	case "arm64":
		native.arch = unix.AUDIT_ARCH_AARCH64
		compat = keyCalls{unix.AUDIT_ARCH_ARM, [3]uint32{309, 310, 311}}
	case "riscv64":
		native.arch = unix.AUDIT_ARCH_RISCV64
	case "ppc64le":
		native.arch = unix.AUDIT_ARCH_PPC64LE
	case "s390x":
		native.arch = unix.AUDIT_ARCH_S390X
	}
	const (
		load   = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		equal  = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		answer = unix.BPF_RET | unix.BPF_K
		deny   = unix.SECCOMP_RET_ERRNO | uint32(unix.EDQUOT)
		x32    = 0x40000000 // __X32_SYSCALL_BIT, in the number and not in the architecture
	)
	f := []unix.SockFilter{{Code: load, K: 4}} // struct seccomp_data: nr, arch
	for _, abi := range []keyCalls{native, compat} {
		if abi.arch == 0 {
			continue
		}
		f = append(f, unix.SockFilter{Code: equal, K: abi.arch, Jf: 7},
			unix.SockFilter{Code: load, K: 0}, unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: ^uint32(x32)},
			unix.SockFilter{Code: equal, K: abi.calls[0], Jt: 3}, unix.SockFilter{Code: equal, K: abi.calls[1], Jt: 2},
			unix.SockFilter{Code: equal, K: abi.calls[2], Jt: 1},
			unix.SockFilter{Code: answer, K: unix.SECCOMP_RET_ALLOW}, unix.SockFilter{Code: answer, K: deny})
	}
	return append(f, unix.SockFilter{Code: answer, K: deny}) // another architecture than any of these
}
