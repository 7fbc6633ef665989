package confine

import (
	"encoding/binary"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"jail/sandbox/seccomp/bpf"
)

// TestFilter runs a filter over every number, with arguments that its guards let through and others.
func TestFilter(t *testing.T) {
	t.Parallel()
	calls := []uintptr{unix.SYS_PPOLL, unix.SYS_SETSID, unix.SYS_GETSID, unix.SYS_MOUNT}
	var code []byte
	for _, i := range Filter(calls, []Guard{Sockets(unix.AF_INET, unix.AF_INET6), Forks, Opens(unix.SYS_OPENAT, 2)}) {
		code = binary.NativeEndian.AppendUint16(code, i.Code)
		code = append(code, i.Jt, i.Jf)
		code = binary.NativeEndian.AppendUint32(code, i.K)
	}
	program, err := bpf.Parse(code)
	if err != nil {
		t.Fatal(err)
	}
	const denied = bpf.RetErrno | uint32(unix.EPERM)
	guarded := []uintptr{unix.SYS_SOCKET, unix.SYS_CLONE, unix.SYS_OPENAT}
	for nr := range uint32(1 << 10) {
		if slices.Contains(guarded, uintptr(nr)) {
			continue
		}
		want := denied
		if slices.Contains(calls, uintptr(nr)) || slices.Contains(goRuntime, uintptr(nr)) || slices.Contains(goRuntimeHere, uintptr(nr)) {
			want = bpf.RetAllow
		}
		if nr == unix.SYS_CLONE3 {
			want = bpf.RetErrno | uint32(unix.ENOSYS)
		}
		if got := program.Run(&bpf.Call{Number: nr, Arch: Arch}); got != want {
			t.Errorf("call %d: %#x, want %#x", nr, got, want)
		}
	}
	for _, c := range []struct {
		nr   uintptr
		args [6]uint64
		want uint32
	}{
		{unix.SYS_SOCKET, [6]uint64{unix.AF_INET}, bpf.RetAllow},
		{unix.SYS_SOCKET, [6]uint64{1<<32 | unix.AF_INET6}, bpf.RetAllow}, // the kernel takes the low half, too
		{unix.SYS_SOCKET, [6]uint64{unix.AF_UNIX}, denied},
		{unix.SYS_SOCKET, [6]uint64{unix.AF_INET << 32}, denied},
		{unix.SYS_CLONE, [6]uint64{unix.CLONE_THREAD | unix.CLONE_VM}, bpf.RetAllow},
		{unix.SYS_CLONE, [6]uint64{unix.CLONE_VM | unix.CLONE_NEWUSER}, denied},
		{unix.SYS_OPENAT, [6]uint64{0, 0, unix.O_CLOEXEC | unix.O_NOFOLLOW}, bpf.RetAllow},
		{unix.SYS_OPENAT, [6]uint64{0, 0, unix.O_RDWR}, denied},
		{unix.SYS_OPENAT, [6]uint64{0, 0, unix.O_CREAT}, denied},
	} {
		if got := program.Run(&bpf.Call{Number: uint32(c.nr), Arch: Arch, Args: c.args}); got != c.want {
			t.Errorf("call %d with %#x: %#x, want %#x", c.nr, c.args, got, c.want)
		}
	}
	for _, arch := range []uint32{unix.AUDIT_ARCH_I386, 0} {
		if got := program.Run(&bpf.Call{Number: unix.SYS_READ, Arch: arch}); got != bpf.RetKillProcess {
			t.Errorf("architecture %#x: %#x", arch, got)
		}
	}
}
