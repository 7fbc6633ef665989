package sandbox

import (
	"bytes"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

var update = flag.Bool("update", false, "write the golden files anew")

func fakeFacts() *Facts {
	files := fakeFiles{
		"/usr/bin/env": "file", "/home/ann": "-> /data/ann", "/data/ann/work/.env": "file", "/data/ann/work/keys/id": "file", "/data/ann/file": "file",
		"/data/ann/lay,er:s/x": "file", "/data/upper/x": "file", "/data/work/x": "file", "/proc/kcore": "file", "/proc/sys/kernel": "dir",
		"/srv/root/bin/sh": "file", "/data/ann/fifo": "file", "/loop": "-> /loop",
	}
	for _, d := range []string{"null", "zero", "full", "random", "urandom", "tty", "kvm"} {
		files["/dev/"+d] = "device"
	}
	return &Facts{UID: 1000, GID: 1000, LastCap: 40, Files: files, NoFile: unix.Rlimit{Cur: 4095, Max: 4096}, Landlock: 7}
}

func fixedBundle() *Bundle {
	b := &Bundle{Spec: &specs.Spec{
		Version: "1.0.2", Hostname: "box",
		Root: &specs.Root{Path: "rootfs", Readonly: true},
		Process: &specs.Process{User: specs.User{UID: 1000, GID: 1000}, Args: []string{"env"}, Cwd: "/work", NoNewPrivileges: true,
			Env: []string{"PATH=/usr/bin:bin:/bin"}},
		Mounts: []specs.Mount{
			{Destination: "/usr", Type: "bind", Source: "/usr", Options: []string{"rbind", "ro", "nosuid", "nodev"}},
			{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "nodev", "noexec"}},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "mode=755"}},
			{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"newinstance", "ptmxmode=0666"}},
			{Destination: "/work", Type: "bind", Source: "/home/ann/work", Options: []string{"rbind", "nosuid", "nodev"}},
		},
		Linux: &specs.Linux{
			UIDMappings: []specs.LinuxIDMapping{{ContainerID: 1000, HostID: 1000, Size: 1}},
			GIDMappings: []specs.LinuxIDMapping{{ContainerID: 1000, HostID: 1000, Size: 1}},
			Namespaces:  []specs.LinuxNamespace{{Type: "user"}, {Type: "mount"}, {Type: "pid"}, {Type: "ipc"}, {Type: "uts"}, {Type: "network"}},
			MaskedPaths: []string{"/proc/kcore", "/work/.env", "/work/keys", "/work/absent"}, ReadonlyPaths: []string{"/proc/sys"},
		},
		Annotations: map[string]string{annotationOrigins: `{"/mounts/4":"dev.yaml:7:5"}`},
	}, Tree: []TreeEntry{{Path: "rootfs", Mode: fs.ModeDir | 0o755}, {Path: "rootfs/bin", Mode: fs.ModeSymlink, Target: "usr/bin"}}}
	return b
}

func TestPlansAreAsTheyWere(t *testing.T) {
	for name, change := range map[string]func(*Bundle){
		"shell": func(*Bundle) {},
		"alone": func(b *Bundle) { *b = *aloneBundle() },
		"terminal": func(b *Bundle) {
			b.Spec.Process.Terminal = true
			b.Spec.Annotations[annotationTimeout] = "1h"
		},
		"host-root": func(b *Bundle) {
			b.Spec.Mounts[0] = specs.Mount{Destination: "/", Type: "bind", Source: "/", Options: []string{"rbind", "ro"}}
			b.Spec.Mounts = b.Spec.Mounts[:1]
			b.Spec.Process.Cwd = "/"
			b.Tree = nil
		},
		"overlays": func(b *Bundle) {
			b.Tree = append(b.Tree, TreeEntry{Path: "up", Mode: fs.ModeDir | 0o755}, TreeEntry{Path: "wk", Mode: fs.ModeDir | 0o755})
			b.Spec.Mounts = append(b.Spec.Mounts,
				specs.Mount{Destination: "/lay", Type: "overlay", Source: "overlay", Options: []string{`lowerdir=/data/ann/lay\,er\:s:/usr`, "upperdir=up", "workdir=wk"}},
				specs.Mount{Destination: "/kept", Type: "overlay", Source: "overlay", Options: []string{"lowerdir=/usr", "upperdir=/data/upper", "workdir=/data/work"}})
		},
		"privileges": func(b *Bundle) {
			list := []string{"CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT"}
			b.Spec.Process.Capabilities = &specs.LinuxCapabilities{Bounding: list, Effective: list, Permitted: list, Inheritable: list, Ambient: list}
			b.Spec.Linux.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 1000}, {ContainerID: 1000, HostID: 1000, Size: 1}}
			b.Spec.Linux.GIDMappings = b.Spec.Linux.UIDMappings
			mask, adj := uint32(0o77), 500
			b.Spec.Process.User.Umask, b.Spec.Process.OOMScoreAdj = &mask, &adj
			b.Spec.Process.User.AdditionalGids = []uint32{20}
			b.Spec.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 10, Hard: 20}}
			b.Spec.Process.Scheduler = &specs.Scheduler{Policy: specs.SchedOther, Nice: 5}
			b.Spec.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{{Names: []string{"read", "execve"}, Action: specs.ActAllow}}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := fixedBundle()
			change(b)
			plan, err := Compile(b, fakeFacts())
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			if _, err := plan.WriteTo(&got); err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", name+".plan")
			if *update {
				if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.Bytes(), want) {
				t.Errorf("got\n%s\nwant\n%s", got.Bytes(), want)
			}
		})
	}
}

func TestBundlesThatAreRefused(t *testing.T) {
	for _, c := range []struct {
		change func(*specs.Spec)
		want   string
	}{
		{func(s *specs.Spec) { s.Process = nil }, "config.json/process: process: the configuration has no process"},
		{func(s *specs.Spec) { s.Process.Args = nil }, "the command is empty"},
		{func(s *specs.Spec) { s.Process.Args = []string{""} }, "the command is empty"},
		{func(s *specs.Spec) { s.Root = nil }, "the configuration has no root"},
		{func(s *specs.Spec) { s.Hooks = &specs.Hooks{} }, "hooks are not run"},
		{func(s *specs.Spec) { s.Process.ApparmorProfile = "x" }, "AppArmor"},
		{func(s *specs.Spec) { s.Process.SelinuxLabel = "x" }, "SELinux"},
		{func(s *specs.Spec) { s.Process.Cwd = "work" }, `"work" is not an absolute path`},
		{func(s *specs.Spec) { s.Version = "2.0" }, `"2.0" is not a version of 1.x`},
		{func(s *specs.Spec) { s.Process.Env = []string{"A=\x00"} }, "NUL"},
		{func(s *specs.Spec) { s.Linux.Namespaces = nil }, "without a mount namespace"},
		{func(s *specs.Spec) { s.Linux.Namespaces = s.Linux.Namespaces[1:] }, "only root can make a sandbox without a user namespace"},
		{func(s *specs.Spec) { s.Linux.Namespaces = append(s.Linux.Namespaces, s.Linux.Namespaces[0]) }, "named twice"},
		{func(s *specs.Spec) { s.Linux.Namespaces[2].Path = "/proc/1/ns/pid" }, "cannot be joined"},
		{func(s *specs.Spec) { s.Linux.Namespaces[4].Type = "mail" }, `unknown namespace type "mail"`},
		{func(s *specs.Spec) { s.Linux.UIDMappings = nil }, "needs uidMappings"},
		{func(s *specs.Spec) { s.Linux.UIDMappings[0].Size = 0 }, "an empty range"},
		{func(s *specs.Spec) { s.Process.User.UID = 5 }, "5 is not mapped"},
		{func(s *specs.Spec) { s.Process.User.AdditionalGids = []uint32{5} }, "groups can be set only where"},
		{func(s *specs.Spec) { s.Linux.Namespaces = s.Linux.Namespaces[:4] }, "hostname: without a uts namespace it would be the host's"},
		{func(s *specs.Spec) { s.Linux.Namespaces = append(s.Linux.Namespaces[:2:2], s.Linux.Namespaces[3:]...) }, "would show the host's processes"},
		{func(s *specs.Spec) { s.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"boottime": {}} }, "offsets need a time namespace"},
		{func(s *specs.Spec) { s.Linux.Sysctl = map[string]string{"vm.swappiness": "1"} }, "does not belong to a namespace"},
		{func(s *specs.Spec) { s.Linux.Sysctl = map[string]string{"net.../../kernel.x": "1"} }, "is no key"},
		{func(s *specs.Spec) { s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_FUN"}} }, `unknown limit "RLIMIT_FUN"`},
		{func(s *specs.Spec) { s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_AS", Soft: 2, Hard: 1}} }, "above hard limit"},
		{func(s *specs.Spec) { s.Process.Capabilities = &specs.LinuxCapabilities{Bounding: []string{"CAP_FUN"}} }, `unknown capability "CAP_FUN"`},
		{func(s *specs.Spec) { s.Process.Capabilities = &specs.LinuxCapabilities{Ambient: []string{"CAP_CHOWN"}} }, "ambient in permitted"},
		{func(s *specs.Spec) {
			s.Process.NoNewPrivileges = false
			s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow}
		}, "a system-call filter needs no_new_privs"},
		{func(s *specs.Spec) { s.Mounts[0].Source = "/none" }, "bind /none at /usr"},
		{func(s *specs.Spec) { s.Mounts[0].Source = "/loop" }, "too many levels of symbolic links"},
		{func(s *specs.Spec) { s.Mounts[0].Source = "" }, "the source is empty"},
		{func(s *specs.Spec) { s.Mounts[0].Source = "content/9" }, "file does not exist"},
		{func(s *specs.Spec) { s.Mounts[0].Options = []string{"rbind", "rshared"} }, "never shared"},
		{func(s *specs.Spec) { s.Mounts[0].Options = []string{"rbind", "size=1"} }, `unknown option "size=1"`},
		{func(s *specs.Spec) { s.Mounts[0].Destination = "usr" }, "no absolute path"},
		{func(s *specs.Spec) { s.Mounts[2].Type = "ext4" }, `a file system of type "ext4" cannot be mounted`},
		{func(s *specs.Spec) { s.Mounts[4].Destination = "/usr/none" }, "does not exist in the read-only tree"},
		{func(s *specs.Spec) { s.Mounts[4].Destination = "/usr/bin/env" }, "is a file, but a directory is mounted there"},
		{func(s *specs.Spec) { s.Mounts[4].Source = "/data/ann/file"; s.Mounts[4].Destination = "/usr/bin" }, "is a directory, but the source is a file"},
		{func(s *specs.Spec) { s.Mounts[4].Destination = "/" }, "must be the first"},
		{func(s *specs.Spec) { s.Root.Path = "/" }, "cannot be the root"},
		{func(s *specs.Spec) { s.Root.Path = "other" }, `has its root in "rootfs"`},
		{func(s *specs.Spec) { s.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/none", Type: "c"}} }, "device /dev/none"},
		{func(s *specs.Spec) { s.Process.Terminal = true; s.Mounts = s.Mounts[:3] }, "no /dev/pts"},
		{func(s *specs.Spec) { s.Process.Env = []string{"PATH=bin:"} }, "PATH has no absolute directory"},
		{func(s *specs.Spec) { s.Annotations[annotationTimeout] = "-1s" }, "not a positive duration"},
		{func(s *specs.Spec) { s.Annotations[annotationEnforcement] = "[" }, "unexpected end of JSON"},
	} {
		b := fixedBundle()
		delete(b.Spec.Annotations, annotationOrigins)
		c.change(b.Spec)
		_, err := Compile(b, fakeFacts())
		var e *Error
		if !errors.As(err, &e) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("want an error with %q, got %v", c.want, err)
		}
	}
}

func TestErrorsNameTheLineOfTheProfile(t *testing.T) {
	b := fixedBundle()
	b.Spec.Mounts[4].Source = "/none"
	_, err := Compile(b, fakeFacts())
	if err == nil || !strings.HasPrefix(err.Error(), "dev.yaml:7:5: bind /none at /work") {
		t.Errorf("got %v", err)
	}
}

func TestPlannedTextIsEscaped(t *testing.T) {
	b := fixedBundle()
	b.Spec.Hostname = "box\x1b[2J"
	plan, err := Compile(b, fakeFacts())
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	_, _ = plan.WriteTo(&got)
	if strings.Contains(got.String(), "\x1b") {
		t.Errorf("a control character is printed:\n%q", got.String())
	}
}
