package desktop

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"
)

// Config says what is to be connected. It is the value of the annotation dev.jail.desktop.
type Config struct {
	// App is what the session's services know the program by, a name as D-Bus has them.
	App     string   `json:"app"`
	Wayland *Wayland `json:"wayland,omitempty"`
	X11     *X11     `json:"x11,omitempty"`
	DBus    *DBus    `json:"dbus,omitempty"`
	// Links is the folder inside at which the program finds the way to open links; "" for none.
	Links string `json:"links,omitempty"`
}

// Wayland is a display behind a security context or a filter.
type Wayland struct {
	Socket string `json:"socket"` // of the compositor, on the host
}

// X11 is a display of the program's own, by a server that shows it in a window.
type X11 struct {
	Server string `json:"server"` // Xephyr or Xwayland, a path on the host
	// The display that the window is on: the socket of an X server with the number of its display and the file
	// with its keys, or the socket of a Wayland compositor.
	Socket     string `json:"socket,omitempty"`
	Number     string `json:"number,omitempty"`
	Authority  string `json:"authority,omitempty"`
	Compositor string `json:"compositor,omitempty"`
}

// DBus is the buses behind the filter.
type DBus struct {
	Proxy   string `json:"proxy"` // xdg-dbus-proxy, a path on the host
	Session *Bus   `json:"session,omitempty"`
	System  *Bus   `json:"system,omitempty"`
}

// Bus is one message bus: a socket on the host by its path or its abstract name, and the rules of the filter as
// options of xdg-dbus-proxy(1).
type Bus struct {
	Socket   string   `json:"socket,omitempty"`
	Abstract string   `json:"abstract,omitempty"`
	Rules    []string `json:"rules"`
}

// Names of rooms.
const (
	RoomWayland = "wayland"
	RoomX11     = "x11"
	RoomDBus    = "dbus"
	RoomLinks   = "links"
)

// Parse reads a Config and checks it: a bundle may come from anywhere, and a rule that is none would be an option
// of the filter.
func Parse(annotation string) (*Config, error) {
	c := &Config{}
	d := json.NewDecoder(strings.NewReader(annotation))
	d.DisallowUnknownFields() // what is not understood would be left out
	if err := d.Decode(c); err != nil {
		return nil, err
	}
	return c, c.check()
}

func (c *Config) check() error {
	var paths []string
	if c.Wayland != nil {
		paths = append(paths, c.Wayland.Socket)
	}
	if x := c.X11; x != nil {
		if (x.Socket == "") == (x.Compositor == "") {
			return errors.New("x11: one of socket and compositor says where the window is shown")
		}
		paths = append(paths, x.Server, x.Socket+x.Compositor)
		if x.Authority != "" {
			paths = append(paths, x.Authority)
		}
	}
	if b := c.DBus; b != nil {
		if b.Session == nil && b.System == nil {
			return errors.New("dbus: neither session nor system")
		}
		paths = append(paths, b.Proxy)
		for _, bus := range []*Bus{b.Session, b.System} {
			if bus == nil {
				continue
			}
			if bus.Abstract == "" {
				paths = append(paths, bus.Socket)
			} else if bus.Socket != "" || strings.ContainsAny(bus.Abstract, ",;%\x00") {
				return fmt.Errorf("dbus: %q is no abstract name", bus.Abstract)
			}
			if err := bus.checkRules(); err != nil {
				return err
			}
		}
	}
	if c.Links != "" {
		paths = append(paths, c.Links)
	}
	for _, p := range paths {
		if !path.IsAbs(p) || path.Clean(p) != p || strings.ContainsAny(p, "\x00\n") {
			return fmt.Errorf("%q is not a clean absolute path", p)
		}
	}
	if c.App == "" || strings.ContainsAny(c.App, "\n\x00[]=") {
		return fmt.Errorf("%q is no name of an application", c.App)
	}
	return nil
}

func (b *Bus) checkRules() error {
	for _, rule := range b.Rules {
		option, value, _ := strings.Cut(rule, "=")
		switch option {
		case "--see", "--talk", "--own", "--call", "--broadcast":
		default:
			return fmt.Errorf("dbus: %q is no rule of the filter", rule)
		}
		if value == "" || strings.ContainsRune(value, 0) {
			return fmt.Errorf("dbus: %q is no rule of the filter", rule)
		}
	}
	return nil
}

// Rooms names the rooms that Connect works in.
func (c *Config) Rooms() []string {
	var names []string
	for _, r := range []struct {
		wanted bool
		name   string
	}{{c.Wayland != nil, RoomWayland}, {c.X11 != nil, RoomX11}, {c.DBus != nil, RoomDBus}, {c.Links != "", RoomLinks}} {
		if r.wanted {
			names = append(names, r.name)
		}
	}
	return names
}
