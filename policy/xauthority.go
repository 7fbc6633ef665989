package policy

import (
	"encoding/binary"
	"io/fs"
)

// maxXauthority is far above what a file of a few displays takes.
const maxXauthority = 64 << 10

// Families of an entry in an X authority file (X11/Xauth.h).
const (
	familyLocal = 256
	familyWild  = 65535
)

// xauthority takes the keys of one display on this host out of an X authority
// file, each as a key of display `as` that is good whatever the machine is called. libXau looks
// keys up by the host's name, and a program with a uts namespace of its own has
// another; and the keys of other displays, and of other machines the user has
// logged in from, are none of the program's business.
//
// The format (Xau(3)) is a list of entries: a family, then address, display
// number, name and data, each behind its length, all numbers big-endian in 16
// bits. What is cut off at the end is not an entry.
func xauthority(file []byte, hostname, display, as string) []byte {
	var out []byte
	for len(file) > 2 {
		family := binary.BigEndian.Uint16(file)
		rest := file[2:]
		var fields [4][]byte
		for i := range fields {
			if len(rest) < 2 {
				return out
			}
			n := int(binary.BigEndian.Uint16(rest))
			if len(rest) < 2+n {
				return out
			}
			fields[i], rest = rest[2:2+n], rest[2+n:]
		}
		file = rest
		address, number := string(fields[0]), string(fields[1])
		here := family == familyWild || family == familyLocal && address == hostname
		if !here || number != display && number != "" {
			continue
		}
		fields[0], fields[1] = nil, []byte(as)
		out = binary.BigEndian.AppendUint16(out, familyWild)
		for _, f := range fields {
			out = binary.BigEndian.AppendUint16(out, uint16(len(f)))
			out = append(out, f...)
		}
	}
	return out
}

// DisplayKeys gives the keys of a display out of an X authority file, as keys of
// the display `as`; "" fits any. Where there is no such file, or it has no key for
// the display, it gives none.
func DisplayKeys(h *Host, file, number, as string) []byte {
	if file == "" {
		return nil
	}
	text, err := h.FS.ReadFile(file, maxXauthority)
	if err != nil {
		return nil
	}
	return xauthority(text, h.Hostname, number, as)
}

// authority gives the program a file with the display's key at the path where
// the session has its own. Where the session has none, the server knows its user
// in another way (xhost +si:localuser:...), and there is nothing to give.
func (d *display) authority(p, number string, o Origin) {
	r := d.tree.r
	keys := DisplayKeys(r.host, p, number, number)
	if len(keys) == 0 {
		return
	}
	d.tree.add(r.rankOf(o), o, "the key of the X11 display", Entry{Path: p, Kind: KindContent, Content: keys, Mode: fs.FileMode(0o600)})
	d.env("XAUTHORITY", p, o)
}
