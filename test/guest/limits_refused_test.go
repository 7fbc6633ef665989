package guest

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"jail/test/need"
)

// Where limits cannot be kept they are refused with the remedy, or left out with a warning where a profile prefers it.
// The remedy, typed as printed, works.
func TestRootRefusedLimits(t *testing.T) {
	need.Guest(t)
	need.Root(t)
	need.UserNamespaces(t)
	dir := t.TempDir()
	must(t, "chmod", "755", dir, filepath.Dir(dir))
	profile := func(limits string) string {
		file := filepath.Join(dir, "p.yaml")
		write(t, file, "version: 1\nextends: [base]\nlimits:\n  "+limits+"\n")
		return file
	}
	t.Run("no manager", func(t *testing.T) {
		file := profile("memory: 64M")
		argv := asUser("nomanager", jailed(t, "--profile", file)...)
		refused(t, run(t, argv...), "jail: "+file+":4:11: limit memory.max=67108864 cannot be applied",
			"no systemd manager of user 1002 is running to ask for a scope", "loginctl enable-linger 1002", "--set enforcement.limits=prefer")
		r := run(t, asUser("nomanager", jailed(t, "--profile", file, "--set", "enforcement.limits=prefer")...)...)
		started(t, r)
		if !strings.Contains(r.stderr, "jail: warning: "+file+":4:11: limit memory.max=67108864 cannot be applied") {
			t.Errorf("no warning: %s", r.stderr)
		}
		r = run(t, asUser("nomanager", jailed(t, "--profile", file, "--set", "enforcement.limits=off")...)...)
		if started(t, r); r.stderr != "" {
			t.Errorf("limits that are off are spoken of: %s", r.stderr)
		}
		// Its manager is masked; without that the printed remedy is all it takes.
		must(t, "rm", "/etc/systemd/system/user@1002.service")
		must(t, "systemctl", "daemon-reload")
		must(t, "loginctl", "enable-linger", "1002")
		t.Cleanup(func() {
			must(t, "loginctl", "disable-linger", "1002")
			must(t, "ln", "-s", "/dev/null", "/etc/systemd/system/user@1002.service")
			must(t, "systemctl", "daemon-reload")
		})
		must(t, "systemctl", "start", "user@1002.service")
		started(t, run(t, argv...))
	})
	t.Run("controllers that were not handed over", func(t *testing.T) {
		file := profile("{memory: 64M, cpus: \"0\"}")
		argv := asUser("partly", jailed(t, "--profile", file)...)
		r := run(t, argv...)
		refused(t, r, "jail: "+file+":4:23: limit cpuset.cpus=0 cannot be applied", "the user's systemd manager was not given the cpuset controller")
		if strings.Contains(r.stderr, "memory.max") {
			t.Errorf("a limit that can be kept is refused as well: %s", r.stderr)
		}
		r = run(t, asUser("partly", jailed(t, "--profile", file, "--set", "enforcement.limits=prefer", "--verbose")...)...)
		if started(t, r); !strings.Contains(r.stderr, "limits: kept by a scope") || !strings.Contains(r.stderr, "jail: warning: "+file+":4:23:") {
			t.Errorf("the other limit is not kept, or nothing is said of this one: %s", r.stderr)
		}
		// "then log out and in again" is the restart of the manager.
		command := regexp.MustCompile(`hint: as root: (.*); then log out and in again`).FindStringSubmatch(run(t, argv...).stderr)
		if command == nil {
			t.Fatalf("no command in %s", r.stderr)
		}
		t.Cleanup(func() {
			must(t, "rm", "-r", "/etc/systemd/system/user@.service.d")
			must(t, "systemctl", "daemon-reload")
			must(t, "systemctl", "restart", "user@1001.service")
		})
		must(t, "sh", "-c", command[1])
		must(t, "systemctl", "restart", "user@1001.service")
		started(t, run(t, argv...))
	})
}

// Without systemd jail's own group is root's, and the remedy hands a subtree over.
func TestPlainLimits(t *testing.T) {
	need.Plain(t)
	need.OrdinaryUser(t)
	need.UserNamespaces(t)
	file := filepath.Join(t.TempDir(), "p.yaml")
	write(t, file, "version: 1\nextends: [base]\nlimits: {pids: 50}\n")
	refused(t, run(t, jailed(t, "--profile", file)...), file+":3:16: limit pids.max=50 cannot be applied", "as root: g=", "chown -R 1000")
	r := run(t, jailed(t, "--profile", file, "--set", "enforcement.limits=prefer")...)
	if started(t, r); !strings.Contains(r.stderr, "jail: warning: "+file+":3:16:") {
		t.Errorf("no warning: %s", r.stderr)
	}
}

// TestPlainRootLimits types that remedy as it is printed.
func TestPlainRootLimits(t *testing.T) {
	need.Plain(t)
	need.Root(t)
	need.UserNamespaces(t)
	dir := t.TempDir()
	must(t, "chmod", "755", dir, filepath.Dir(dir))
	file := filepath.Join(dir, "p.yaml")
	write(t, file, "version: 1\nextends: [base]\nlimits: {memory: 64M, pids: 50}\n")
	// root needs nobody's leave.
	r := run(t, jailed(t, "--profile", file, "--verbose")...)
	if started(t, r); !strings.Contains(r.stderr, "root's own cgroup v2 tree") {
		t.Errorf("root's way: %s", r.stderr)
	}
	said := run(t, asUser("tester", jailed(t, "--profile", file)...)...).stderr
	command := regexp.MustCompile(`hint: as root: (.*); then echo PID > (\S+) for the shell`).FindStringSubmatch(said)
	if command == nil {
		t.Fatalf("no command in %s", said)
	}
	t.Cleanup(func() { must(t, "sh", "-c", "rmdir /sys/fs/cgroup/jail-1000/*/ /sys/fs/cgroup/jail-1000") })
	must(t, "sh", "-c", command[1])
	r = run(t, "sh", "-c", `g=/sys/fs/cgroup/jail-1000; echo $$ > `+command[2]+`; exec "$@"`, "sh",
		"runuser", "-u", "tester", "--", need.Jail(t), "--profile", file, "--verbose", "sh", "-c", "echo started")
	if started(t, r); !strings.Contains(r.stderr, "/sys/fs/cgroup/jail-1000, a delegated cgroup v2 subtree") {
		t.Errorf("the way of a subtree that was handed over: %s", r.stderr)
	}
}
