package desktop

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// xserver starts an X server of the program's own, which shows its screen in a window of the session.
func (s *Session) xserver() error {
	x := s.config.X11
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make a pipe from the X server: %w", err)
	}
	s.keep(r)
	h := &Helper{What: "the X11 display of its own", Profile: "x11-server", Room: RoomX11, RoomAt: "/tmp/.X11-unix"}
	h.Streams[1] = w
	const outer = "/run/outer/display"
	// Without access control: whoever has the room is the program, and nobody else can connect. Xwayland asks for
	// more than that by default.
	h.Args = []string{x.Server, ":0", "-ac", "-displayfd", "1", "-nolisten", "tcp", "-noreset"}
	if x.Compositor != "" {
		h.Binds = []string{bind(x.Compositor, outer)}
		h.Vars = []string{"OUTER_WAYLAND=" + outer}
	} else {
		h.Binds = []string{bind(x.Socket, outer)}
		h.Vars = []string{`OUTER_DISPLAY=":99"`}
		// A display is a number, and its socket lies in the folder where the server makes its own, so for as long
		// as it starts a link there leads to the session's. (XCB took a path in place of a number only on macOS.)
		link := s.options.Rooms[RoomX11] + "/X99"
		if err := os.Symlink(outer, link); err != nil {
			return err
		}
		defer os.Remove(link)
		name := s.config.App[strings.LastIndexByte(s.config.App, '.')+1:]
		h.Args = append(h.Args, "-screen", "1280x800", "-resizeable", "-title", name+" (jail)")
		if keys := s.options.Keys(x.Authority, x.Number); len(keys) > 0 {
			if h.Streams[0], err = inMemory("keys of the display", keys); err != nil {
				return err
			}
		}
	}
	if h.Streams[0] == nil {
		if h.Streams[0], err = os.Open("/dev/null"); err != nil {
			return err
		}
	}
	return s.serve(h, r, func(text string) bool { return strings.HasSuffix(text, "\n") })
}

// inMemory makes a file of these bytes that has no name.
func inMemory(name string, content []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make a file in memory: %w", err)
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err := f.WriteAt(content, 0); err != nil {
		f.Close()
		return nil, fmt.Errorf("write a file in memory: %w", err)
	}
	return f, nil
}

// bind writes a pair as the flag --bind takes it, where a backslash keeps a colon in a path.
func bind(source, destination string) string {
	return strings.NewReplacer(`\`, `\\`, ":", `\:`).Replace(source) + ":" + destination
}
