package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"jail/test/need"
)

// observations is the one list that is compared between runtimes.
func observations() []string {
	names := []string{
		"mounts", "rlimits", "environment", "hostname", "domainname", "cwd", "umask", "ids",
		"status:CapInh", "status:CapPrm", "status:CapEff", "status:CapBnd", "status:CapAmb", "status:NoNewPrivs", "status:Seccomp",
		"read:/proc/kcore", "read:/proc/timer_list", "list:/proc/acpi", "write:/proc/sys/kernel/hostname", "list:/etc", "read:/etc/passwd", "create:/x", "create:/tmp/x", "create:/usr/x",
		"list:/dev", "read:/dev/null", "processes",
	}
	for name := range dangerousCalls {
		names = append(names, "call:"+name)
	}
	sort.Strings(names)
	return names
}

// The exported bundle gives the same observations under jail and under runc.
// The NIS domain name is left out: runc knows the field only since 1.2.
func TestTheSameBundleUnderRunc(t *testing.T) {
	runc := need.Program(t, "runc")
	u := newUser(t)
	_, flags := observer(t)
	u.profile("plain", `extends: [base]
process: {uid: 0, gid: 0, hostname: box, umask: "027", cwd: /tmp}
environment: {set: {GREETING: hello}}
rlimits: {nofile: 512, core: 0, nproc: 4000}
filesystem:
  - {path: "~/work", mode: rw}
  - {path: /srv/note, content: "a note\n"}
  - {path: /tmp/deep/note, content: "another\n"}
  - {path: "~/work/secret", hide: true}
`)
	u.write("work/secret", "bait")
	bundle := filepath.Join(u.home, "bundle")
	names := append(observations(), "read:/srv/note", "read:/tmp/deep/note", "read:"+u.home+"/work/secret", "create:"+u.home+"/work/x")
	u.must(append(append([]string{"compile", "--bundle", bundle, "--profile", "plain"}, flags...), append([]string{"--", "/observer", "observe"}, names...)...)...)

	direct := u.inside([]string{"--profile", "plain"}, names...)
	ours := lines(u.must("run", "--bundle", bundle))

	state := filepath.Join(u.home, "runc")
	cmd := exec.Command(runc, "--root", state, "run", "--bundle", bundle, fmt.Sprintf("jail-test-%d", os.Getpid()))
	cmd.Env = append(u.env, "XDG_RUNTIME_DIR="+u.home)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("runc: %v\n%s%s", err, out.String(), errs.String())
	}
	theirs := lines(out.String())
	// Where the kernel has /proc/kcore runc links /dev/core to it, which no specification asks for.
	theirs["list:/dev"] = strings.TrimPrefix(theirs["list:/dev"], "core ")
	for _, name := range names {
		if ours[name] != direct[name] && name != "mounts" {
			t.Errorf("%s\n  the profile: %s\n  its bundle:  %s", name, direct[name], ours[name])
		}
		if name == "mounts" {
			compareMounts(t, ours[name], theirs[name], bundle)
			continue
		}
		if ours[name] != theirs[name] {
			t.Errorf("%s\n  jail: %s\n  runc: %s", name, ours[name], theirs[name])
		}
	}
}

// compareMounts wants the same mount points with the same file systems. The flags of what the bundle lists must
// be equal. What a runtime makes by itself (the root, the default devices, the covers of masked paths) jail
// restricts further than runc does, and never less.
func compareMounts(t *testing.T, ours, theirs, bundle string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(bundle, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	var spec specs.Spec
	if err := json.Unmarshal(text, &spec); err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for _, m := range spec.Mounts {
		listed[m.Destination] = true
	}
	a, b := mountTable(ours), mountTable(theirs)
	for at := range b {
		if _, ok := a[at]; !ok {
			t.Errorf("only runc mounts %s", at)
		}
	}
	for at, m := range a {
		r, ok := b[at]
		switch {
		case !ok:
			t.Errorf("only jail mounts %s", at)
		case m[0] != r[0]:
			t.Errorf("%s: %s under jail, %s under runc", at, m[0], r[0])
		case listed[at] && m[1] != r[1]:
			t.Errorf("%s: %s under jail, %s under runc", at, m[1], r[1])
		}
		for _, flag := range strings.Split(r[1], ",") {
			if ok && flag != "rw" && !strings.Contains(","+m[1]+",", ","+flag+",") {
				t.Errorf("%s: runc sets %s and jail does not: %s", at, flag, m[1])
			}
		}
	}
}

// mountTable gives file system and sorted flags by mount point, without the access time's.
func mountTable(mounts string) map[string][2]string {
	table := map[string][2]string{}
	for _, m := range strings.Split(mounts, "; ") {
		f := strings.Fields(m)
		var flags []string
		for _, flag := range strings.Split(f[2], ",") {
			if flag != "relatime" {
				flags = append(flags, flag)
			}
		}
		sort.Strings(flags)
		table[f[0]] = [2]string{f[1], strings.Join(flags, ",")}
	}
	return table
}
