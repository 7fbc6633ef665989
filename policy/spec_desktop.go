package policy

import (
	"strconv"
	"strings"
)

// desktop describes, for the annotation, what stands between the program and the
// session: jail connects it at the start. "" where there is nothing.
func (c *compiler) desktop() string {
	d := &c.r.Desktop
	nested := d.Display != nil && d.Display.Server != ""
	if d.Compositor == nil && !nested && d.Buses == nil && d.LinksAt == "" {
		return ""
	}
	b := appendMember([]byte{'{'}, "app", appID(c.r.Name.V))
	if w := d.Compositor; w != nil {
		b = append(appendMember(appendObject(b, "wayland"), "socket", w.Socket), '}')
	}
	if nested {
		b = appendObject(b, "x11")
		x := d.Display
		for _, m := range [][2]string{{"server", x.Server}, {"socket", x.Socket}, {"number", x.Number}, {"authority", x.Authority}, {"compositor", x.Compositor}} {
			if m[1] != "" {
				b = appendMember(b, m[0], m[1])
			}
		}
		b = append(b, '}')
	}
	if d.Buses != nil {
		b = appendMember(appendObject(b, "dbus"), "proxy", d.Buses.Proxy)
		b = appendBus(b, "session", d.Buses.Session)
		b = appendBus(b, "system", d.Buses.System)
		b = append(b, '}')
	}
	if d.LinksAt != "" {
		b = appendMember(b, "links", d.LinksAt)
	}
	return string(append(b, '}'))
}

// appendObject opens an object as a member of the one that b has opened.
func appendObject(b []byte, key string) []byte {
	if b[len(b)-1] != '{' {
		b = append(b, ',')
	}
	return append(appendJSON(b, key), ':', '{')
}

func appendBus(b []byte, key string, bus *Bus) []byte {
	if bus == nil {
		return b
	}
	b = appendObject(b, key)
	if bus.Socket != "" {
		b = appendMember(b, "socket", bus.Socket)
	} else {
		b = appendMember(b, "abstract", bus.Abstract)
	}
	b = append(b, `,"rules":[`...)
	for i, rule := range bus.Rules {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendJSON(b, rule)
	}
	return append(b, ']', '}')
}

// room notes a folder that a helper offers its sockets in.
func (c *compiler) room(e *Entry) {
	c.origin("/annotations/"+annotationRooms+"/"+strconv.Itoa(len(c.rooms)), e.Origin)
	c.rooms = append(c.rooms, e)
}

// roomList is the annotation that tells the launcher where to put the rooms.
func (c *compiler) roomList() string {
	b := []byte{'['}
	for i, e := range c.rooms {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendMember(append(b, '{'), "name", e.Source)
		b = append(appendMember(b, "path", e.Path), '}')
	}
	return string(append(b, ']'))
}

// connected names what of the session only jail can connect, for the warning
// that goes with a bundle for other runtimes.
func connected(d *Desktop) string {
	var names []string
	for _, s := range []struct {
		on   bool
		name string
	}{{d.Compositor != nil, "Wayland"}, {d.Display != nil && d.Display.Server != "", "X11"}, {d.Buses != nil, "D-Bus"}, {d.Links.V, "opening links"}} {
		if s.on {
			names = append(names, s.name)
		}
	}
	return strings.Join(names, ", ")
}
