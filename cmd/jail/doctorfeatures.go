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
	if err := sandbox.ProbeSeccomp(); err != nil {
		all = append(all, feature{Name: "system-call filter", State: missing, Text: "seccomp: " + err.Error(), Note: "the kernel needs CONFIG_SECCOMP_FILTER; a container's own filter may keep it away"})
	} else {
		all = append(all, found("system-call filter", "the kernel takes them"))
	}
	if namespaces == nil {
		all = append(all, trial("default profile", missing, "a sandbox starts"),
			trial("overlays", optional, "an ordinary user can mount them", "--set", "filesystem=[{path: /usr/share, overlay: discard}]"))
	}
	abi, err := sandbox.ProbeLandlock()
	switch {
	case err == nil:
		all = append(all, found("Landlock", "version %d of its interface", abi))
	case errors.Is(err, unix.EOPNOTSUPP):
		all = append(all, feature{Name: "Landlock", State: optional, Text: "is in the kernel and not in use",
			Note: "add landlock to lsm= on the kernel's command line, as in lsm=landlock,lockdown,yama,apparmor"})
	default:
		all = append(all, feature{Name: "Landlock", State: optional, Text: "this kernel has none (" + err.Error() + ")", Note: "it came with Linux 5.13"})
	}
	return all
}

// trial starts a sandbox for real and takes what it says as the finding.
func trial(name, state, text string, flags ...string) feature {
	cmd := exec.Command(self, append(append([]string{"run", "-p", defaultProfile, "--cwd", "/"}, flags...), "--", "true")...)
	out, err := cmd.CombinedOutput()
	if err == nil {
		return found(name, "%s", text)
	}
	said, hint, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(string(out)), "jail: "), "\n  hint: ")
	if said == "" {
		said = err.Error()
	}
	f := feature{Name: name, State: state, Text: said}
	f.Remedy, f.Note = splitHint(hint)
	return f
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
	name := strconv.Itoa(os.Getuid())
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	for _, file := range []string{"/etc/subuid", "/etc/subgid"} {
		if count := subordinate(file, name); count > 0 {
			all = append(all, found(file, "%d subordinate ids", count))
		} else {
			flag := "--add-" + strings.TrimPrefix(file, "/etc/") + "s"
			all = append(all, lacking(optional, file, "no subordinate ids for "+name, "sudo usermod "+flag+" 100000-165535 "+name))
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

// limitFeatures are the control groups.
func limitFeatures() []feature {
	limit, quota, period := int64(1<<30), int64(50000), uint64(100000)
	res := &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit}, CPU: &specs.LinuxCPU{Quota: &quota, Period: &period}, Unified: map[string]string{"pids.max": "100"}}
	way, lacks, err := cgroup.Foresee(res, cgroup.Options{Name: "doctor"})
	if err != nil {
		return []feature{{Name: "control groups", State: optional, Text: err.Error()}}
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
	for _, p := range [][2]string{{"pasta", "passt"}, {"slirp4netns", "slirp4netns"}} {
		all = append(all, helper(p[0], p[1], "for profiles with network.uplink: "+p[0]))
	}
	return all
}

// desktopFeatures are the session's services and the programs that stand between.
func desktopFeatures() []feature {
	runtime := os.Getenv("XDG_RUNTIME_DIR")
	var all []feature
	socket := func(name, path, absent string) {
		if path != "" && unix.Access(path, unix.W_OK) == nil {
			all = append(all, found(name, "%s", path))
			return
		}
		all = append(all, feature{Name: name, State: optional, Text: absent})
	}
	in := func(name string) string {
		if runtime == "" || name == "" || strings.HasPrefix(name, "/") {
			return name
		}
		return runtime + "/" + name
	}
	socket("Wayland", in(os.Getenv("WAYLAND_DISPLAY")), "no compositor in this session (WAYLAND_DISPLAY)")
	x11 := ""
	if number, ok := strings.CutPrefix(os.Getenv("DISPLAY"), ":"); ok {
		number, _, _ = strings.Cut(number, ".")
		x11 = "/tmp/.X11-unix/X" + number
	}
	socket("X11", x11, "no server in this session (DISPLAY)")
	if runtime == "" {
		all = append(all, feature{Name: "PipeWire, PulseAudio", State: optional, Text: "no runtime folder in this session (XDG_RUNTIME_DIR)"})
	} else {
		socket("PipeWire", in("pipewire-0"), "no server in this session")
		socket("PulseAudio", in("pulse/native"), "no server in this session")
	}
	bus := ""
	if address, ok := strings.CutPrefix(os.Getenv("DBUS_SESSION_BUS_ADDRESS"), "unix:path="); ok {
		bus, _, _ = strings.Cut(address, ",")
	} else if runtime != "" {
		bus = in("bus")
	}
	socket("session bus", bus, "none in this session (DBUS_SESSION_BUS_ADDRESS)")
	all = append(all, helper("xdg-dbus-proxy", "xdg-dbus-proxy", "for profiles with desktop.dbus"),
		helper("Xephyr", "xserver-xephyr", "a nested X server, for X11 in isolation"), helper("Xwayland", "xwayland", "a nested X server under Wayland"))
	return all
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
