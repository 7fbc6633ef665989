package desktop

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// buses starts the filter on the message buses, one process for both.
func (s *Session) buses() error {
	d := s.config.DBus
	const room, outer = "/run/room", "/run/outer/"
	h := &Helper{What: "the filter on the message buses", Profile: "dbus-proxy", Room: RoomDBus, RoomAt: room, Vars: []string{"APP=" + s.config.App}}
	// The proxy says on this descriptor that it serves, and ends when the other side is closed: xdg-dbus-proxy(1).
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("make a socket to the proxy: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "proxy"), os.NewFile(uintptr(pair[1]), "proxy")
	s.keep(ours)
	h.Streams[0] = theirs
	h.Args = []string{d.Proxy, "--fd=0"}
	for _, b := range []struct {
		name string
		bus  *Bus
	}{{"session", d.Session}, {"system", d.System}} {
		if b.bus == nil {
			continue
		}
		address := "unix:path=" + outer + b.name
		if b.bus.Abstract != "" {
			address, h.HostNet = "unix:abstract="+b.bus.Abstract, true
		} else {
			h.Binds = append(h.Binds, bind(b.bus.Socket, outer+b.name))
		}
		h.Args = append(h.Args, address, room+"/"+b.name, "--filter")
		h.Args = append(h.Args, b.bus.Rules...)
	}
	return s.serve(h, ours, func(text string) bool { return text != "" })
}
