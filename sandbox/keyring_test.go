package sandbox

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"jail/sandbox/seccomp/bpf"
)

// TestNoKeyringsFilter runs the filter over every call number of every ABI.
func TestNoKeyringsFilter(t *testing.T) {
	for goarch, abis := range map[string][]struct {
		arch, bit uint32
		calls     [3]uint32
	}{
		"amd64": {{unix.AUDIT_ARCH_X86_64, 0, [3]uint32{248, 249, 250}}, {unix.AUDIT_ARCH_X86_64, 0x40000000, [3]uint32{248, 249, 250}}, {unix.AUDIT_ARCH_I386, 0, [3]uint32{286, 287, 288}}},
	} {
		if runtime.GOARCH != goarch {
			t.Skipf("the numbers of %s are not known on %s", goarch, runtime.GOARCH)
		}
		filter := noKeyrings(goarch)
		code := unsafe.Slice((*byte)(unsafe.Pointer(&filter[0])), 8*len(filter))
		program, err := bpf.Parse(code)
		if err != nil {
			t.Fatal(err)
		}
		verdict := func(arch, nr uint32) uint32 {
			return program.Run(&bpf.Call{Number: nr, Arch: arch})
		}
		for _, abi := range abis {
			for nr := range uint32(700) {
				want := uint32(unix.SECCOMP_RET_ALLOW)
				for _, c := range abi.calls {
					if nr == c {
						want = unix.SECCOMP_RET_ERRNO | uint32(unix.EDQUOT)
					}
				}
				if got := verdict(abi.arch, nr|abi.bit); got != want {
					t.Errorf("%s, arch %#x, call %#x: %#x, want %#x", goarch, abi.arch, nr|abi.bit, got, want)
				}
			}
		}
		if got := verdict(unix.AUDIT_ARCH_MIPS, 250); got == unix.SECCOMP_RET_ALLOW {
			t.Errorf("%s: an unknown architecture is let through", goarch)
		}
	}
}

const keyProbe = `perl -e '$! = 0; my $id = syscall(250, 0, -3, 0); print $id > 0 ? "keyring" : "error " . ($! + 0)'`

// TestKeysUsedUp: where the user may have no more keys, a sandbox without a filter starts all the same and reaches no
// keyring. A few runs before are the control.
func TestKeysUsedUp(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("the probe has the call numbers of amd64")
	}
	if _, err := exec.LookPath("perl"); err != nil {
		t.Skip("no perl to make raw system calls with")
	}
	if os.Getuid() == 0 {
		t.Skip("root may have a million keys")
	}
	// Keys count for the user, whoever else runs programs of his, and one that ends gives its keys back only when the
	// kernel gets to it. So both runs are repeated where the other state is plainly what they met.
	usedUp := fmt.Sprintf("error %d", unix.EDQUOT)
	run := func(script, met string, env ...string) (string, error) {
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(100 * time.Millisecond) {
			cmd := command(t, shellBundle(script))
			cmd.Env = append(cmd.Environ(), env...)
			out, err := cmd.CombinedOutput()
			if err != nil || string(out) != met || time.Now().After(deadline) {
				return string(out), err
			}
		}
	}
	if out, err := run(keyProbe, usedUp); err != nil || out != "keyring" {
		t.Errorf("control: %v %q", err, out)
	}
	out, err := run(keyProbe+"; grep -c '^Seccomp:.*2' /proc/self/status || true", "keyring0\n", "SANDBOX_TEST_KEYS=1")
	if err != nil || out != usedUp+"1\n" {
		t.Errorf("with all keys used up: %v %q", err, out)
	}
}

// useUpKeys fills a new session keyring of this process with all the keys that the user may have.
func useUpKeys() error {
	runtime.LockOSThread() // credentials are a thread's
	if _, err := unix.KeyctlInt(unix.KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0, 0); err != nil && !errors.Is(err, unix.EDQUOT) {
		return err
	}
	for i := range 100000 {
		if _, err := unix.AddKey("user", fmt.Sprint("jail-test-", i), []byte("x"), unix.KEY_SPEC_SESSION_KEYRING); errors.Is(err, unix.EDQUOT) {
			return nil
		} else if err != nil {
			return err
		}
	}
	return errors.New("there is no end to the keys")
}
