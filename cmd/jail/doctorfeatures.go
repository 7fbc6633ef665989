package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"jail/sandbox"
	"jail/sandbox/cgroup"
)

// self is this program's file, whatever has become of its path.
const self = "/proc/self/exe"

// sandboxFeatures are what every sandbox is made of.
func sandboxFeatures() []feature {
	var all []feature
	var name unix.Utsname
	_ = unix.Uname(&name)
	release := unix.ByteSliceToString(name.Release[:])
	var major, minor int
	n, _ := fmt.Sscanf(release, "%d.%d", &major, &minor)
	if n == 2 && (major < 5 || major == 5 && minor < 12) {
		all = append(all, feature{Name: "kernel", State: missing, Text: "Linux " + release + " has no mount_setattr(2)", Note: "jail needs Linux 5.12 or later"})
	} else {
		all = append(all, found("kernel", "Linux %s", release))
	}
	namespaces := sandbox.ProbeUserNamespaces(self, "version")
	if namespaces != nil {
		all = append(all, hintedFeature(missing, "user namespaces", namespaces))
	} else {
		all = append(all, found("user namespaces", "an ordinary user can make them"))
	}
	all = append(all, appArmorFeature(lineOf, namespaces))
	if err := sandbox.ProbeSeccomp(); err != nil {
		all = append(all, feature{Name: "system-call filter", State: missing, Text: "seccomp: " + err.Error(), Note: "the kernel needs CONFIG_SECCOMP_FILTER; a container's own filter may keep it away"})
	} else {
		all = append(all, found("system-call filter", "the kernel takes them"))
	}
	if namespaces == nil {
		all = append(all, trial("default profile", missing, "a sandbox starts"),
			trial("overlays", optional, "an ordinary user can mount them", "--set", "filesystem=[{path: /usr/share, overlay: discard}]"))
	}
	return append(all, landlockFeature(), memoryFeature(), binfmtFeature())
}

// trial starts a sandbox for real and takes what it says as the finding.
func trial(name, state, text string, flags ...string) feature {
	cmd := exec.Command(self, append(append([]string{"run", "-p", defaultProfile, "--cwd", "/"}, flags...), "--", "true")...)
	out, err := cmd.CombinedOutput()
	if err == nil {
		return found(name, "%s", text)
	}
	said, hint := refusalOf(string(out))
	if said == "" {
		said = err.Error()
	}
	f := feature{Name: name, State: state, Text: said}
	f.Remedy, f.Note = splitHint(hint)
	return f
}

// refusalOf takes what made a start fail out of jail's messages: not the warnings, and of several hints the first.
func refusalOf(messages string) (said, hint string) {
	var errs []string
	warning := false
	for line := range strings.Lines(messages) {
		line = strings.TrimRight(line, "\r\n")
		if text, ok := strings.CutPrefix(line, "  hint: "); ok {
			if !warning && hint == "" {
				hint = text
			}
			continue
		}
		text := strings.TrimPrefix(line, "jail: ")
		if warning = strings.HasPrefix(text, "warning: "); !warning && text != "" {
			errs = append(errs, text)
		}
	}
	return strings.Join(errs, "; "), hint
}

// idFeatures are what several ids in one sandbox need.
func idFeatures() []feature {
	var all []feature
	_, errUID := exec.LookPath("newuidmap")
	_, errGID := exec.LookPath("newgidmap")
	if errUID != nil || errGID != nil {
		all = append(all, lacking(optional, "newuidmap", "not installed: a profile cannot map several ids", packageCommand("uidmap")))
	} else {
		all = append(all, found("newuidmap", "installed"))
	}
	name := userName()
	for _, file := range []string{"/etc/subuid", "/etc/subgid"} {
		if count := subordinate(file, name); count > 0 {
			all = append(all, found(file, "%d subordinate ids", count))
		} else {
			first := freeSubordinate(file)
			all = append(all, lacking(optional, file, "no subordinate ids for "+name,
				fmt.Sprintf("sudo usermod --add-%ss %d-%d %s", strings.TrimPrefix(file, "/etc/"), first, first+subordinates-1, name)))
		}
	}
	return all
}

// subordinate counts a user's ids in a file such as /etc/subuid: subuid(5).
func subordinate(file, name string) int {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	total := 0
	for line := range strings.Lines(string(text)) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) == 3 && (f[0] == name || f[0] == strconv.Itoa(os.Getuid())) {
			n, _ := strconv.Atoi(f[2])
			total += max(0, n)
		}
	}
	return total
}

// userName is the caller's, or the number where it has none.
func userName() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return strconv.Itoa(os.Getuid())
}

// subordinates is how many ids a user is given: login.defs(5), SUB_UID_COUNT.
const subordinates = 65536

// freeSubordinate gives the first id from which on no user has any.
func freeSubordinate(file string) int {
	free := 100000 // SUB_UID_MIN
	text, _ := os.ReadFile(file)
	for line := range strings.Lines(string(text)) {
		if f := strings.Split(strings.TrimSpace(line), ":"); len(f) == 3 {
			start, _ := strconv.Atoi(f[1])
			count, _ := strconv.Atoi(f[2])
			free = max(free, start+count)
		}
	}
	return free
}

// limitFeatures are the control groups.
func limitFeatures() []feature {
	limit, quota, period := int64(1<<30), int64(50000), uint64(100000)
	res := &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit}, CPU: &specs.LinuxCPU{Quota: &quota, Period: &period}, Unified: map[string]string{"pids.max": "100"}}
	way, lacks, err := cgroup.Foresee(res, cgroup.Options{Name: "doctor"})
	if err != nil {
		text, hint, _ := strings.Cut(err.Error(), "\nhint: ")
		f := feature{Name: "control groups", State: optional, Text: text}
		f.Remedy, f.Note = splitHint(hint)
		return []feature{f}
	}
	if len(lacks) == 0 && way != "" {
		return []feature{found("memory, cpu, processes", "limited through %s", way)}
	}
	var all []feature
	for _, r := range lacks {
		what := r.Controller
		if what == "" {
			what = "control groups"
		}
		f := feature{Name: what, State: optional, Text: r.Reason}
		f.Remedy, f.Note = splitHint(r.Remedy)
		if word, rest, ok := strings.Cut(strings.TrimPrefix(r.Remedy, "boot with "), " on the kernel's command line"); ok {
			f.Remedy, f.Note = bootWith(word), strings.TrimPrefix(rest, ", ")
		}
		all = append(all, f)
	}
	return all
}

// networkFeatures are what network.mode: veth uses.
func networkFeatures() []feature {
	var all []feature
	if fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0); err == nil {
		_ = unix.Close(fd)
		all = append(all, found("/dev/net/tun", "opens: the fast way out of network.mode veth"))
	} else {
		remedy := "sudo chmod 0666 /dev/net/tun"
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) {
			remedy = "sudo modprobe tun"
		}
		all = append(all, feature{Name: "/dev/net/tun", State: optional, Text: "does not open (" + err.Error() + ")", Remedy: remedy,
			Note: "network.mode veth works without it, with a slower way out"})
	}
	all = append(all, pingFeature())
	for _, p := range [][2]string{{"pasta", "passt"}, {"slirp4netns", "slirp4netns"}} {
		all = append(all, helper(p[0], p[1], "for profiles with network.uplink: "+p[0]))
	}
	return all
}

// pingFeature is whether this user may send ICMP echo, as the gateway does for the programs behind it: icmp(7).
func pingFeature() feature {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMP)
	if err != nil {
		return lacking(optional, "ping", "this user may send none ("+err.Error()+"): network.mode veth carries none",
			`sudo sysctl -w net.ipv4.ping_group_range="0 2147483647"`)
	}
	_ = unix.Close(fd)
	return found("ping", "this user may send them")
}

// helper looks for one on the PATH.
func helper(name, pack, what string) feature {
	if path, err := exec.LookPath(name); err == nil {
		return found(name, "%s", path)
	}
	return lacking(optional, name, "not installed: "+what, packageCommand(pack))
}

// packageCommand is the command that installs a package here.
func packageCommand(pack string) string {
	for _, m := range [][2]string{{"apt-get", "sudo apt-get install "}, {"dnf", "sudo dnf install "}, {"pacman", "sudo pacman -S "}, {"zypper", "sudo zypper install "}, {"apk", "sudo apk add "}} {
		if _, err := exec.LookPath(m[0]); err == nil {
			return m[1] + pack
		}
	}
	return ""
}
