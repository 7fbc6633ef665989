package guest

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"jail/test/need"
)

// An obstacle is something that keeps jail, or a part of it, from working.
type obstacle struct {
	feature string                                 // of the doctor's that is about it
	user    string                                 // who asks the doctor, tester where empty
	has     func(t *testing.T) bool                // tells whether this guest has what is to be switched off
	set     func(t *testing.T)                     // puts it in the way, and back at the end
	state   string                                 // what the doctor calls it
	without func(t *testing.T, user string) result // what does not work then, and works else; nil where the doctor's word is all
	after   []string                               // what the note says beside the command: to log in again
}

func sysctlObstacle(feature, name, value, state string, without func(*testing.T, string) result) obstacle {
	return obstacle{
		feature: feature, state: state, without: without,
		has: func(*testing.T) bool {
			_, err := os.Stat("/proc/sys/" + strings.ReplaceAll(name, ".", "/"))
			return err == nil
		},
		set: func(t *testing.T) { setSysctl(t, name, value) },
	}
}

// sandboxed runs something in a sandbox of the user's.
func sandboxed(flags ...string) func(*testing.T, string) result {
	return func(t *testing.T, user string) result {
		return run(t, asUser(user, jailed(t, flags...)...)...)
	}
}

var obstacles = map[string]obstacle{
	"user namespaces, none at all":   sysctlObstacle("user namespaces", "user.max_user_namespaces", "0", "missing", sandboxed()),
	"user namespaces, not for users": sysctlObstacle("user namespaces", "kernel.unprivileged_userns_clone", "0", "missing", sandboxed()),
	"programs in memory":             sysctlObstacle("programs in memory", "vm.memfd_noexec", "2", "optional", nil),
	"ping":                           sysctlObstacle("ping", "net.ipv4.ping_group_range", "1\t0", "optional", nil),
	"foreign programs, handlers off": {
		feature: "foreign programs", state: "optional",
		has: hasBinfmt,
		set: func(t *testing.T) {
			must(t, "sh", "-c", "echo 0 > "+binfmtStatus)
			t.Cleanup(func() { must(t, "sh", "-c", "echo 1 > "+binfmtStatus) })
		},
	},
	"foreign programs, nothing is mounted": {
		feature: "foreign programs", state: "optional",
		has: hasBinfmt,
		set: func(t *testing.T) {
			must(t, "systemctl", "stop", "proc-sys-fs-binfmt_misc.automount")
			must(t, "sh", "-c", "while umount /proc/sys/fs/binfmt_misc 2>/dev/null; do :; done")
			t.Cleanup(func() {
				must(t, "umount", "/proc/sys/fs/binfmt_misc")
				must(t, "systemctl", "start", "proc-sys-fs-binfmt_misc.automount")
			})
		},
	},
	"the way out": {
		feature: "/dev/net/tun", state: "optional",
		set: func(t *testing.T) {
			mode := strings.TrimSpace(must(t, "stat", "-c", "%a", "/dev/net/tun"))
			must(t, "chmod", "600", "/dev/net/tun")
			t.Cleanup(func() { must(t, "chmod", mode, "/dev/net/tun") })
		},
	},
	"subordinate user ids":  {feature: "/etc/subuid", state: "optional", set: func(t *testing.T) { withoutIDs(t, "/etc/subuid") }},
	"subordinate group ids": {feature: "/etc/subgid", state: "optional", set: func(t *testing.T) { withoutIDs(t, "/etc/subgid") }},
	"a manager": {
		feature: "memory", user: "nomanager", state: "optional", without: sandboxed("--set", "limits.memory=64M"),
		after: []string{"systemctl", "start", "user@1002.service"},
		set: func(t *testing.T) {
			// In this guest the user's manager is masked; without that it is one who has not logged in.
			must(t, "rm", "/etc/systemd/system/user@1002.service")
			must(t, "systemctl", "daemon-reload")
			t.Cleanup(func() {
				must(t, "loginctl", "disable-linger", "1002")
				must(t, "ln", "-s", "/dev/null", "/etc/systemd/system/user@1002.service")
				must(t, "systemctl", "daemon-reload")
			})
		},
	},
	"controllers": {
		feature: "cpu", user: "partly", state: "optional", without: sandboxed("--set", "limits.cpu=50%"),
		after: []string{"systemctl", "restart", "user@1001.service"},
		set: func(t *testing.T) {
			// From systemd 252 on cpu is handed over by itself.
			const unit = "/etc/systemd/system/user@1001.service.d"
			must(t, "mkdir", "-p", unit)
			write(t, unit+"/a-few.conf", "[Service]\nDelegate=\nDelegate=memory pids\n")
			again := func() {
				must(t, "systemctl", "daemon-reload")
				must(t, "systemctl", "restart", "user@1001.service")
			}
			again()
			t.Cleanup(func() {
				must(t, "rm", "-rf", "/etc/systemd/system/user@.service.d", unit)
				again()
			})
		},
	},
}

const binfmtStatus = "/proc/sys/fs/binfmt_misc/status"

func hasBinfmt(*testing.T) bool {
	_, err := os.Stat(binfmtStatus)
	return err == nil
}

// withoutIDs takes the users' subordinate ids away.
func withoutIDs(t *testing.T, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { write(t, file, string(text)) })
	write(t, file, "partly:200000:65536\n")
}

// TestRootDoctorsRemediesWork puts obstacles in the way one by one, and types what the doctor says as it says it.
func TestRootDoctorsRemediesWork(t *testing.T) {
	need.Guest(t)
	need.Root(t)
	need.UserNamespaces(t)
	tried := 0
	for name, o := range obstacles {
		if o.has != nil && !o.has(t) {
			t.Logf("%s: this release has nothing of the kind to switch off", name)
			continue
		}
		tried++
		t.Run(name, func(t *testing.T) {
			if o.user == "" {
				o.user = "tester"
			}
			o.set(t)
			if o.without != nil {
				refused(t, o.without(t, o.user))
			}
			found := diagnosis(t, o.user, o.feature)
			if found.State != o.state || found.Remedy == "" {
				t.Fatalf("the doctor says %+v", found)
			}
			// The test is root already, and the guest has no sudo.
			t.Logf("$ %s", found.Remedy)
			must(t, "sh", "-c", strings.ReplaceAll(found.Remedy, "sudo ", ""))
			if o.after != nil {
				must(t, o.after...)
			}
			if found = diagnosis(t, o.user, o.feature); found.State != "ok" && found.State != "" { // control groups that work are one line together
				t.Errorf("after that the doctor says %+v", found)
			}
			if o.without != nil {
				started(t, o.without(t, o.user))
			}
		})
	}
	if least := 8; tried < least {
		t.Errorf("only %d obstacles were there to be tried", tried)
	}
}

// finding is what the doctor says of a feature.
type finding struct{ Name, State, Remedy, Note string }

// diagnosis asks the doctor about a feature: nothing is in it where the doctor does not speak of it.
func diagnosis(t *testing.T, user, feature string) finding {
	t.Helper()
	var all []finding
	r := run(t, asUser(user, need.Jail(t), "doctor", "--json")...)
	if err := json.Unmarshal([]byte(r.stdout), &all); err != nil {
		t.Fatalf("%v: %s%s", err, r.stdout, r.stderr)
	}
	for _, f := range all {
		if f.Name == feature {
			if (r.code != 0) != (f.State == "missing") {
				t.Errorf("%s is %s, and the doctor's exit code is %d", f.Name, f.State, r.code)
			}
			return f
		}
	}
	return finding{}
}

// The boot without systemd has a Landlock that is not in use. The doctor names the words of the kernel's command line that
// a boot needs for it: all that are in use, in their order, and landlock; guests of other boots have it by words like these.
func TestPlainRootLandlockNotInUse(t *testing.T) {
	need.Plain(t)
	need.Root(t)
	need.UserNamespaces(t)
	need.Kernel(t, 5, 13)
	const dir = "/sys/kernel/security"
	must(t, "mount", "-t", "securityfs", "securityfs", dir)
	t.Cleanup(func() { must(t, "umount", dir) })
	text, err := os.ReadFile(dir + "/lsm")
	inUse := strings.TrimPrefix(string(text), "capability,")
	if err != nil || strings.Contains(inUse, "landlock") || !strings.Contains(inUse, "yama") {
		t.Fatalf("in use are %q (%v), want others than Landlock", text, err)
	}
	found := diagnosis(t, "tester", "Landlock")
	if want := "boot with lsm=landlock," + inUse + " on the kernel's command line"; found.State != "optional" || found.Note != want {
		t.Errorf("the doctor says %+v, want the note %q", found, want)
	}
	refused(t, run(t, asUser("tester", jailed(t, "--set", "enforcement.landlock=require")...)...), "no Landlock", "lsm=", "enforcement: {landlock: prefer}")
	r := run(t, asUser("tester", jailed(t)...)...) // the default profile prefers it
	if started(t, r); !strings.Contains(r.stderr, "jail: warning: ") || !strings.Contains(r.stderr, "no Landlock") {
		t.Errorf("no warning: %s", r.stderr)
	}
}
