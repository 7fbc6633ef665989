// Package desktop connects a sandbox to the desktop session, through something that stands between the two:
//
//	program ── room ── xdg-dbus-proxy, in a sandbox ── session bus, system bus
//	        ── room ── Xephyr or Xwayland, in a sandbox ── X server or compositor
//	        ── room ── the compositor itself (security context), or a filter in jail
//	        ── room ── jail, which opens links
//
// A room is a folder in memory that only the two sides have (package sandbox makes it). The program finds sockets in
// it, and no way to the session's own. Helpers are programs of other people that read what the program sends, so
// each runs in a sandbox of its own, which the caller of Connect makes: this package knows nothing of profiles and
// of how a sandbox is set up.
//
// Everything lives as long as jail does. A helper dies with jail's process; the compositor stops listening when a
// pipe that jail holds is closed; the rooms go with the last sandbox that has them.
package desktop
