package guest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"jail/test/need"
)

// jail in a container as engines make them by default: the runtime's own bundle with its masks on /proc, and a filter that
// keeps user namespaces away. Both are refused with what to start the container with instead, and that works.
func TestRootInAContainer(t *testing.T) {
	need.Guest(t)
	need.Root(t)
	need.UserNamespaces(t)
	noNamespaces := func(c *specs.Spec) {
		// As the engines' filters do: clone(2) with CLONE_NEWUSER among its flags, and unshare(2).
		eperm := uint(1)
		const newUser = 0x10000000
		c.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Architectures: []specs.Arch{specs.ArchX86_64},
			Syscalls: []specs.LinuxSyscall{
				{Names: []string{"unshare"}, Action: specs.ActErrno, ErrnoRet: &eperm},
				{Names: []string{"clone"}, Action: specs.ActErrno, ErrnoRet: &eperm,
					Args: []specs.LinuxSeccompArg{{Index: 0, Value: newUser, ValueTwo: newUser, Op: specs.OpMaskedEqual}}},
			}}
	}
	unmasked := func(c *specs.Spec) { c.Linux.MaskedPaths, c.Linux.ReadonlyPaths = nil, nil }
	// What a sandbox can do without where the container cannot be changed.
	noProc := []string{"--set", "namespaces=[user, mount, ipc, uts, cgroup, net]", "--set", "without={filesystem: [/proc]}"}
	for _, runtime := range []string{"runc", "crun"} {
		inside := func(t *testing.T, change func(*specs.Spec), flags ...string) result {
			t.Helper()
			return run(t, need.Program(t, runtime), "run", "--bundle", container(t, runtime, jailed(t, flags...), change), "guest-test-"+runtime)
		}
		t.Run(runtime, func(t *testing.T) {
			refused(t, inside(t, func(*specs.Spec) {}), "/proc", "--security-opt unmask=")
			started(t, inside(t, func(*specs.Spec) {}, noProc...))
			refused(t, inside(t, func(c *specs.Spec) { unmasked(c); noNamespaces(c) }), "user namespaces", "--security-opt seccomp=unconfined")
			started(t, inside(t, unmasked))
		})
	}
}

// container makes a bundle whose root is this machine's own system, for a command as tester.
func container(t *testing.T, runtime string, argv []string, change func(*specs.Spec)) string {
	t.Helper()
	bundle := t.TempDir()
	must(t, need.Program(t, runtime), "spec", "--bundle", bundle)
	root := filepath.Join(bundle, "rootfs")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	must(t, "sh", "-c", "chmod 755 "+bundle+" "+filepath.Dir(bundle)+" && cp -P /bin /lib /lib64 /sbin "+root)
	file := filepath.Join(bundle, "config.json")
	text, err := os.ReadFile(file)
	var c specs.Spec
	if err == nil {
		err = json.Unmarshal(text, &c)
	}
	if err != nil {
		t.Fatal(err)
	}
	c.Process.Args, c.Process.Terminal, c.Process.Cwd = argv, false, "/"
	c.Process.User = specs.User{UID: 1000, GID: 1000}
	c.Process.Capabilities = &specs.LinuxCapabilities{}
	c.Process.Env = append(c.Process.Env, "HOME=/home/tester")
	c.Root.Readonly = false
	for _, dir := range []string{"/usr", "/etc", "/src"} {
		c.Mounts = append(c.Mounts, specs.Mount{Destination: dir, Type: "bind", Source: dir, Options: []string{"rbind", "ro"}})
	}
	for _, dir := range []string{"/tmp", "/var/tmp", "/home/tester"} {
		c.Mounts = append(c.Mounts, specs.Mount{Destination: dir, Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "nodev", "mode=1777"}})
	}
	change(&c)
	if text, err = json.Marshal(c); err != nil {
		t.Fatal(err)
	}
	write(t, file, string(text))
	return bundle
}
