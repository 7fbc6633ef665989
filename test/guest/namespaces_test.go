package guest

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"jail/test/need"
)

func TestRootUserNamespacesSwitchedOff(t *testing.T) {
	need.Guest(t)
	need.Root(t)
	need.UserNamespaces(t)
	for _, name := range []string{"user.max_user_namespaces", "kernel.unprivileged_userns_clone"} {
		t.Run(name, func(t *testing.T) {
			command := asUser("tester", jailed(t)...)
			started(t, run(t, command...))
			before := setSysctl(t, name, "0")
			refused(t, run(t, command...), name, "sysctl -w "+name)
			setSysctl(t, name, before)
			started(t, run(t, command...))
		})
	}
}

// setSysctl gives the old value, and puts it back at the end of the test whatever happens.
func setSysctl(t *testing.T, name, value string) string {
	t.Helper()
	path := "/proc/sys/" + strings.ReplaceAll(name, ".", "/")
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(value), 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.WriteFile(path, before, 0); err != nil {
			t.Error(err)
		}
	})
	return strings.TrimSpace(string(before))
}

// A process in a chroot may make no user namespace: EPERM of clone(2), user_namespaces(7).
func TestRootInAChroot(t *testing.T) {
	need.Guest(t)
	need.Root(t)
	need.UserNamespaces(t)
	// All mounts are made in a mount namespace that ends with the command.
	inside := func(where string) result {
		script := `mount --rbind / /mnt; ` + where + ` setpriv --reuid tester --regid tester --init-groups --inh-caps=-all env HOME=/home/tester "$@"`
		return run(t, append([]string{"unshare", "--mount", "sh", "-ec", script, "sh"}, jailed(t)...)...)
	}
	started(t, inside("exec"))
	refused(t, inside("exec chroot /mnt"), "chroot")
}

// In a container whose /proc is masked the kernel lets no user namespace mount a /proc that shows more
// (mount_too_revealing in fs/namespace.c), so a sandbox with a pid namespace cannot be had: that is refused, not
// made with the container's /proc.
func TestRootInAContainerWithAMaskedProc(t *testing.T) {
	need.Guest(t)
	need.Root(t)
	need.UserNamespaces(t)
	inside := func(mask string) result {
		script := mask + ` exec setpriv --reuid tester --regid tester --init-groups --inh-caps=-all --bounding-set=-all env HOME=/home/tester "$@"`
		return run(t, append([]string{"unshare", "--mount", "--pid", "--fork", "--mount-proc", "sh", "-ec", script, "sh"}, jailed(t)...)...)
	}
	started(t, inside(""))
	refused(t, inside("mount --bind /dev/null /proc/kcore;"), "/proc")
}

func TestPlainSandbox(t *testing.T) {
	need.Plain(t)
	need.UserNamespaces(t)
	if name, err := os.ReadFile("/proc/1/comm"); err != nil || string(name) == "systemd\n" {
		t.Fatalf("pid 1 is %q (%v), want no systemd", name, err)
	}
	started(t, run(t, jailed(t)...))
}

// Before Linux 6.2 a process enters a new time namespace as it is forked, afterwards when it is executed.
func TestAClockOfItsOwn(t *testing.T) {
	need.Guest(t)
	need.OrdinaryUser(t)
	need.UserNamespaces(t)
	hours := func(flags ...string) int {
		argv := append(append([]string{need.Jail(t)}, flags...), "sh", "-c", "read -r up idle </proc/uptime; echo $((${up%.*} / 3600))")
		n, err := strconv.Atoi(strings.TrimSpace(must(t, argv...)))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if here, there := hours(), hours("--set", "namespaces=[user, mount, pid, ipc, uts, cgroup, net, {value: time, boottime: 1000h}]"); there-here < 999 {
		t.Errorf("%d hours since the boot, and with a clock that is a thousand ahead %d", here, there)
	}
}

// tooOld tells whether the kernel lacks mount_setattr(2), as Linux 5.10 does: without it a tree cannot be made read-only
// with everything mounted below it.
func tooOld(t *testing.T) bool {
	t.Helper()
	have := need.KernelVersion(t)
	return have[0] < 5 || have[0] == 5 && have[1] < 12
}

func TestKernelTooOld(t *testing.T) {
	release := need.Guest(t)
	if old := tooOld(t); old != (release == "bullseye") {
		t.Errorf("%s has Linux %v: bullseye is here for a kernel that is too old, and the others for ones that are not", release, need.KernelVersion(t))
	} else if !old {
		started(t, run(t, jailed(t)...))
		return
	}
	refused(t, run(t, jailed(t)...), "mount_setattr", "Linux 5.12")
}
