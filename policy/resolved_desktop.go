package policy

// Desktop is what of the session the program gets. Sockets and variables that
// come of it are already in Filesystem and Environment.
type Desktop struct {
	Wayland, PulseAudio, PipeWire, Portals, Notifications, Keyring, Links, Fonts, Themes, Locale, Printing Flag

	X11 Text // off, on, fallback, shared
	// Session and System are the rules as the profile has them.
	Session, System BusAccess

	// What was found on this machine and so is granted; nil for what was not.
	LinksAt    string // the folder inside by which links are opened
	Compositor *Compositor
	Display    *Display
	Buses      *Buses
}

// BusAccess is what the program may do on one bus.
type BusAccess struct {
	Talk, Own, See, Call, Broadcast []Named
	Origin                          Origin
}

// Compositor is the Wayland display of the session.
type Compositor struct {
	Socket string // on the host
	Origin Origin
}

// Display is the X11 display that the program gets.
type Display struct {
	// Server is the nested server, a path on the host; "" for the session's own
	// display, shared.
	Server string
	// The display that the server itself shows its window on: a socket of an X
	// server with the number of the display and the file with its keys ("" for
	// none), or one of a Wayland compositor.
	Socket, Number, Authority string
	Compositor                string
	Origin                    Origin
}

// Buses are the message buses behind the filter.
type Buses struct {
	Proxy           string // xdg-dbus-proxy, a path on the host
	Session, System *Bus   // nil for one that the program does not get
	Origin          Origin
}

// Bus is one message bus of the host and what the filter lets through.
type Bus struct {
	// Socket is a path on the host; Abstract a name in the abstract namespace
	// (unix(7)). One of them is set.
	Socket, Abstract string
	Rules            []string // options of xdg-dbus-proxy(1)
}
