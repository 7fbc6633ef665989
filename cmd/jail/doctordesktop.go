package main

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"jail/sandbox/desktop/wayland"
)

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
	all = append(all, waylandFeature(in(os.Getenv("WAYLAND_DISPLAY"))))
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
		helper("Xephyr", "xserver-xephyr", "a nested X server, for X11 in isolation"), helper("Xwayland", "xwayland", "a nested X server under Wayland"),
		helper("xdg-open", "xdg-utils", "for profiles with desktop.links"))
	return all
}

// waylandFeature says who keeps programs on one compositor apart.
func waylandFeature(socket string) feature {
	f := feature{Name: "Wayland", State: optional, Text: "no compositor in this session (WAYLAND_DISPLAY)"}
	if socket == "" {
		return f
	}
	switch has, err := wayland.HasContexts(socket); {
	case err != nil:
		f.Text = err.Error()
	case has:
		f = found(f.Name, "%s: the compositor itself sets sandboxed programs apart", socket)
	default:
		f = found(f.Name, "%s: no security contexts, so jail filters what programs ask of it", socket)
	}
	return f
}

// deviceFeatures are the devices that profiles name, as far as this user gets at them.
func deviceFeatures() []feature {
	return []feature{
		devicesFeature("gpu", "render", "/dev/dri/renderD*"),
		devicesFeature("camera", "video", "/dev/video*"),
		devicesFeature("input", "input", "/dev/input/event*"),
		devicesFeature("usb", "plugdev", "/dev/bus/usb/*/*"),
	}
}

// devicesFeature tries the nodes of one kind. group is the one that distributions give them to.
func devicesFeature(name, group, pattern string) feature {
	nodes, _ := filepath.Glob(pattern)
	closed := 0
	for _, node := range nodes {
		if unix.Access(node, unix.R_OK|unix.W_OK) != nil {
			closed++
		}
	}
	switch {
	case len(nodes) == 0:
		return feature{Name: name, State: optional, Text: "none here (" + pattern + ")"}
	case closed == 0:
		return found(name, "%d", len(nodes))
	}
	f := feature{Name: name, State: optional, Text: fmt.Sprintf("%d of %d do not open for this user", closed, len(nodes))}
	if st, err := os.Stat(nodes[0]); err == nil {
		if g, err := user.LookupGroupId(strconv.Itoa(int(st.Sys().(*syscall.Stat_t).Gid))); err == nil && g.Name != "root" {
			group = g.Name
		}
	}
	f.Remedy, f.Note = "sudo usermod -aG "+group+" "+userName(), "then log out and in again; a session on the machine's own screen gets at them without"
	return f
}
