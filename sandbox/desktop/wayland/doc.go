// Package wayland offers a program the session's Wayland display without what lets a client watch or steer others:
// screen copies, virtual keyboards and pointers, lists of foreign windows, layers over the whole screen.
//
// A compositor that has the protocol security-context-v1 is given a socket to listen on and told that whoever
// connects there is in a sandbox; what such a client may do is then the compositor's business, and jail has no part
// in the traffic. For other compositors jail listens itself and passes everything on but the announcement of
// interfaces that are not on a list.
//
// The wire format is that of the Wayland protocol, chapter 4 ("Wayland Protocol and Model of Operation"): messages
// of 32-bit words in the machine's order, each with the id of its object, its size and its number in the object's
// interface; descriptors come beside the bytes.
package wayland
