package guest

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"jail/test/need"
)

// observe prints what a program finds out about its sandbox, one fact a line. Mount ids differ between runs and the
// source of a mount between runtimes, so only place, type and flags of mounts are compared. /dev/core is a link that
// other runtimes add and OCI does not ask for.
const observe = `
awk '$5 == "/" { print "root", substr($6, 1, 2); next } { print "mount", $5, $6, $(NF-2) }' /proc/self/mountinfo | sort
grep -E '^(Cap|NoNewPrivs|Seccomp:|Groups)' /proc/self/status
ulimit -a | sed 's/^/limit /'
env | grep -v '^_=' | sort
echo host $(hostname); echo dir $(pwd); id
ls -l /dev | awk 'NR > 1 && $9 != "core" { print "dev", $1, $NF }'
ls /proc/self/fd | wc -l
cat /etc/guest-note
for f in /etc/shadow /proc/kcore /proc/sys/kernel/hostname /sys/kernel/uevent_seqnum; do
  head -c 1 $f >/dev/null 2>&1 && echo can read $f || echo cannot read $f
done
unshare -U true 2>&1 | sed 's/^/userns: /'
`

const bundled = `
version: 1
extends: [base]
filesystem:
  - {path: /etc/guest-note, content: "a file of the profile\n"}
  - {path: "~", tmpfs: {size: 8M, mode: "0700"}}
  - {path: /src, mode: ro}
environment: {set: {NOTE: "one two"}}
rlimits: {nofile: 512, core: 0}
process: {hostname: inside, cwd: /src, uid: 0, gid: 0, umask: "0027"}
`

// The same profile gives the same sandbox by jail itself and by the runtimes that start its bundle.
func TestBundleOnRuncAndCrun(t *testing.T) {
	need.Guest(t)
	need.OrdinaryUser(t)
	need.UserNamespaces(t)
	dir := t.TempDir()
	profile := filepath.Join(dir, "bundled.yaml")
	write(t, profile, bundled)
	bundle := filepath.Join(dir, "bundle")
	must(t, need.Jail(t), "compile", "--bundle", bundle, "--profile", profile, "--", "sh", "-c", observe)
	want := must(t, need.Jail(t), "--profile", profile, "sh", "-c", observe)
	if !strings.Contains(want, "a file of the profile") || !strings.Contains(want, "host inside") {
		t.Fatalf("the observations lack what the profile gives:\n%s", want)
	}
	for _, runtime := range []string{"runc", "crun"} {
		t.Run(runtime, func(t *testing.T) {
			got := must(t, need.Program(t, runtime), "--root", filepath.Join(t.TempDir(), "state"), "run", "--bundle", bundle, "guest-test-"+runtime)
			for _, line := range difference(weaken(want, got), got) {
				t.Error(line)
			}
		})
	}
}

// weaken drops from jail's flags of the mounts that a runtime adds by itself (devices, masks, read-only parts of /proc
// and /sys) those that this runtime does without: jail gives them nosuid, nodev and noexec as well, and makes masks
// read-only. What the runtime has and jail has not stays a difference. The root is on disk in one case and in memory in the
// other: observe prints only whether it is read-only.
func weaken(jail, other string) string {
	theirs := map[string][]string{}
	for line := range strings.Lines(other) {
		if f := strings.Fields(line); len(f) == 4 && f[0] == "mount" {
			theirs[f[1]] = strings.Split(f[2], ",")
		}
	}
	var out strings.Builder
	for line := range strings.Lines(jail) {
		f := strings.Fields(line)
		if len(f) != 4 || f[0] != "mount" || !addedByRuntime(f[1]) {
			out.WriteString(line)
			continue
		}
		flags := slices.DeleteFunc(strings.Split(f[2], ","), func(flag string) bool {
			switch flag {
			case "nosuid", "nodev", "noexec":
				return !slices.Contains(theirs[f[1]], flag)
			}
			return false
		})
		if slices.Contains(theirs[f[1]], "rw") {
			flags[0] = "rw"
		}
		out.WriteString(strings.Join([]string{f[0], f[1], strings.Join(flags, ","), f[3]}, " ") + "\n")
	}
	return out.String()
}

func addedByRuntime(place string) bool {
	switch filepath.Dir(place) {
	case "/dev":
		return place != "/dev/pts" && place != "/dev/shm" && place != "/dev/mqueue"
	case "/proc", "/sys":
		return true
	}
	return false
}

// difference lists the lines that only one of two texts has.
func difference(want, got string) []string {
	count := map[string]int{}
	for line := range strings.Lines(want) {
		count[line]++
	}
	var lines []string
	for line := range strings.Lines(got) {
		if count[line]--; count[line] < 0 {
			lines = append(lines, "only there: "+strings.TrimSpace(line))
		}
	}
	for line := range strings.Lines(want) {
		if count[line] > 0 {
			count[line]--
			lines = append(lines, "only by jail: "+strings.TrimSpace(line))
		}
	}
	return lines
}
