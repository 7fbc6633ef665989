package guest

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"jail/test/need"
)

// What a program tries that wants to leave its group or raise its limits. Each line prints what came of it; what
// must not be possible prints NO.
const wayOut = `
try() { name=$1; shift; if out=$("$@" 2>/dev/null); then echo "$name: DONE $out"; else echo "$name: NO"; fi; }
echo "group: $(cat /proc/self/cgroup)"
echo "sees: $(find /sys/fs/cgroup -type d | wc -l) groups, memory.max $(cat /sys/fs/cgroup/memory.max), pids.max $(cat /sys/fs/cgroup/pids.max)"
cd /sys/fs/cgroup
try "raise memory" sh -c 'echo max > memory.max'
try "raise pids" sh -c 'echo max > pids.max'
try "move out" sh -c 'echo $$ > ../cgroup.procs'
try "move in" sh -c 'echo $$ > cgroup.procs'
try "make a group" mkdir below
try "kill" sh -c 'echo 1 > cgroup.kill'
try "remount" mount -o remount,rw /sys/fs/cgroup
try "mount" mount -t cgroup2 cgroup2 /tmp
try "mount v1" mount -t cgroup -o memory cgroup /tmp
try "leave the namespace" nsenter --cgroup=/proc/1/ns/cgroup true
try "cgroup namespace" unshare --cgroup true
try "user namespace" unshare --user true
nested='mkdir -p /tmp/cg && mount -t cgroup2 cgroup2 /tmp/cg && cd /tmp/cg && printf "mounted; " || exit 1
  for f in memory.max pids.max; do echo max > $f && printf "raised $f; "; done
  mkdir below && printf "made a group; "
  echo 0 > ../cgroup.procs && printf "moved; "
  true'
try "nested" unshare --user --map-root-user --mount --cgroup sh -c "$nested"
echo end
sleep ${1:-0}
`

func TestNoWayOutOfTheGroup(t *testing.T) {
	need.Guest(t)
	if os.Getenv("JAIL_GUEST_INIT") == "plain" {
		t.Skip("needs a systemd manager; the boot with systemd has this test")
	}
	common := "filesystem: [{path: /sys, mode: rw}, {path: /tmp, tmpfs: {}}]\nlimits: {memory: 64M, pids: 50}\n"
	for _, tt := range []struct{ name, profile, may string }{
		{"nothing granted", common, ""},
		// The filter lets a program with this make user namespaces, in which it is root, but no others with them.
		{"user namespaces granted", common + "syscalls: {allow: [\"@userns\", \"@mount\"]}\n", "user namespace:"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, way := range ways {
				t.Run(way.name, func(t *testing.T) {
					jail, _ := limited(t, tt.profile)
					name := "way" + time.Now().Format("150405000000")
					done := make(chan result, 1)
					go func() {
						done <- run(t, join(way.argv, jail, []string{"--name", name, "sh", "-c", wayOut, "sh", "5"})...)
					}()
					// While it sleeps, the limits and the members are looked at from outside.
					dir := awaitProgram(t, name, "sleep\x005")
					for file, want := range map[string]string{"memory.max": "67108864\n", "pids.max": "50\n"} {
						if text, err := os.ReadFile(filepath.Join(dir, file)); string(text) != want {
							t.Errorf("%s is %q (%v) from outside, want %q", file, text, err, want)
						}
					}
					r := <-done
					if !strings.HasSuffix(r.stdout, "end\n") || !strings.HasPrefix(r.stdout, "group: 0::/\n") {
						t.Fatalf("printed %q, jail said: %s", r.stdout, r.stderr)
					}
					if !strings.Contains(r.stdout, "sees: 1 groups, memory.max 67108864, pids.max 50\n") {
						t.Errorf("it sees other groups than its own:\n%s", r.stdout)
					}
					for line := range strings.Lines(r.stdout) {
						what, came, _ := strings.Cut(line, " DONE")
						if strings.Contains(line, " DONE") && (!strings.Contains(tt.may, what) || strings.Contains(came, "raised") || strings.Contains(came, "moved") || strings.Contains(came, "made")) {
							t.Errorf("it could: %s", line)
						}
					}
				})
			}
		})
	}
	// Control: in the group that was handed over, without a sandbox, most of this works.
	out := must(t, "systemd-run", "--user", "--scope", "--quiet", "-p", "Delegate=yes", "-p", "MemoryMax=64M", "sh", "-c",
		`cd /sys/fs/cgroup$(sed s/^0::// /proc/self/cgroup) && echo max > memory.max && mkdir below && echo $$ > below/cgroup.procs && cat memory.max`)
	if out != "max\n" {
		t.Errorf("control: printed %q", out)
	}
}

// awaitProgram waits until a process with that command line runs in the sandbox's group, and gives the group's folder.
func awaitProgram(t *testing.T, name, cmdline string) string {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		for _, dir := range groups(t, name) {
			text, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
			if err != nil || strings.HasSuffix(dir, ".scope") {
				continue
			}
			for _, pid := range strings.Fields(string(text)) {
				if line, _ := os.ReadFile("/proc/" + pid + "/cmdline"); strings.HasPrefix(string(line), cmdline) {
					return dir
				}
			}
		}
	}
	t.Errorf("no process %q came up in a group of the sandbox %s: %v", cmdline, name, groups(t, name))
	return "/nowhere"
}

// The bandwidth of a disk is the one of the profile's line, for what is read as for what is written.
func TestRootDiskBandwidth(t *testing.T) {
	need.Guest(t)
	need.Root(t)
	need.UserNamespaces(t)
	const rate = 1 << 20
	dir := t.TempDir()
	disk, at := filepath.Join(dir, "disk"), "/mnt"
	write(t, disk, "")
	if err := os.Truncate(disk, 64<<20); err != nil {
		t.Fatal(err)
	}
	must(t, need.Program(t, "mkfs.ext4"), "-q", "-O", "^has_journal", disk)
	loop := strings.TrimSpace(must(t, need.Program(t, "losetup"), "--find", "--show", "--direct-io=on", disk))
	t.Cleanup(func() { must(t, need.Program(t, "losetup"), "--detach", loop) })
	must(t, "mount", loop, at)
	t.Cleanup(func() { must(t, "umount", at) })
	must(t, "sh", "-c", "head -c 8M /dev/urandom > /mnt/data; touch /mnt/new; chown tester /mnt/data /mnt/new; sync")
	profile := filepath.Join(dir, "p.yaml")
	must(t, "chmod", "755", dir, filepath.Dir(dir))

	copying := map[string][]string{
		"read":  {"dd", "if=/mnt/data", "of=/dev/null", "bs=64k", "iflag=direct"},
		"write": {"dd", "if=/dev/zero", "of=/mnt/new", "bs=64k", "count=128", "oflag=direct", "conv=notrunc"},
	}
	for _, kind := range []string{"read", "write"} {
		t.Run(kind, func(t *testing.T) {
			measure := func(limit string) float64 {
				write(t, profile, "version: 1\nextends: [base]\nfilesystem: [{path: /mnt, mode: rw}]\n"+limit)
				argv := asUser("tester", join([]string{need.Jail(t), "--profile", profile}, copying[kind])...)
				r := run(t, argv...)
				// dd's own clock leaves out what the start takes.
				said := regexp.MustCompile(`(\d+) bytes .* copied, ([\d.]+) s,`).FindStringSubmatch(r.stderr)
				if r.code != 0 || said == nil {
					t.Fatalf("exit code %d, said: %s", r.code, r.stderr)
				}
				size, _ := strconv.ParseFloat(said[1], 64)
				seconds, _ := strconv.ParseFloat(said[2], 64)
				return size / seconds
			}
			free := measure("")
			if free < 2*rate {
				t.Fatalf("control: without a limit only %.2f MiB/s", free/(1<<20))
			}
			got := 0.0
			for range 3 { // a busy machine makes it slower; too fast it must never be
				if got = measure("limits: {io: [{device: " + loop + ", " + kind + ": 1M/s}]}\n"); got >= 0.8*rate {
					break
				}
			}
			t.Logf("%s: %.2f MiB/s without a limit, %.2f with one of 1", kind, free/(1<<20), got/(1<<20))
			if got < 0.8*rate || got > 1.2*rate {
				t.Errorf("%s at %.2f MiB/s, want 1 within a fifth", kind, got/(1<<20))
			}
		})
	}
}

// Limits travel in the bundle: what jail keeps, runc and crun keep.
func TestRootBundleWithLimits(t *testing.T) {
	need.Guest(t)
	need.Root(t)
	need.UserNamespaces(t)
	dir := t.TempDir()
	profile, bundle := filepath.Join(dir, "p.yaml"), filepath.Join(dir, "bundle")
	write(t, profile, `version: 1
extends: [base]
filesystem: [{path: /sys, mode: ro}]
limits: {memory: 64M, memory-high: 48M, swap: 8M, pids: 50, cpu: 50%, cpu-weight: 30}
`)
	show := []string{"sh", "-c", "cd /sys/fs/cgroup && grep . memory.max memory.high memory.swap.max pids.max cpu.max cpu.weight"}
	const want = "memory.max:67108864\nmemory.high:50331648\nmemory.swap.max:8388608\npids.max:50\ncpu.max:50000 100000\ncpu.weight:30\n"
	must(t, join([]string{need.Jail(t), "compile", "--bundle", bundle, "--profile", profile, "--"}, show)...)
	for name, argv := range map[string][]string{
		"jail":            join([]string{need.Jail(t), "--profile", profile}, show),
		"jail on bundles": {need.Jail(t), "run", "--bundle", bundle},
		"runc":            {need.Program(t, "runc"), "--root", dir + "/runc", "run", "--bundle", bundle, "guest-limits-runc"},
		"crun":            {need.Program(t, "crun"), "--root", dir + "/crun", "run", "--bundle", bundle, "guest-limits-crun"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := must(t, argv...); got != want {
				t.Errorf("the limits inside are\n%swant\n%s", got, want)
			}
		})
	}
}
