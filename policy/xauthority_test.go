package policy

import (
	"encoding/binary"
	"testing"
)

// authEntry is one entry of an X authority file.
func authEntry(family uint16, address, number, data string) []byte {
	out := binary.BigEndian.AppendUint16(nil, family)
	for _, f := range []string{address, number, "MIT-MAGIC-COOKIE-1", data} {
		out = binary.BigEndian.AppendUint16(out, uint16(len(f)))
		out = append(out, f...)
	}
	return out
}

func TestXauthority(t *testing.T) {
	join := func(entries ...[]byte) []byte {
		var out []byte
		for _, e := range entries {
			out = append(out, e...)
		}
		return out
	}
	mine := authEntry(familyLocal, "ws", "0", "key-of-0")
	wild := authEntry(familyWild, "", "0", "key-of-0")
	tests := []struct {
		name       string
		file, want []byte
	}{
		{"the display's key becomes good for any host name", mine, wild},
		{"a key that is good for any host stays", wild, wild},
		{"a key for every display becomes one for this", authEntry(familyLocal, "ws", "", "key-of-0"), wild},
		{"other displays are left out", join(authEntry(familyLocal, "ws", "1", "other"), mine), wild},
		{"other machines are left out", join(authEntry(familyLocal, "laptop", "0", "other"), authEntry(0, "\x0a\x00\x00\x01", "0", "other"), mine), wild},
		{"an empty file", nil, nil},
		{"what is cut off is no entry", join(mine, mine[:len(mine)-1]), wild},
		{"a length that leads nowhere", []byte{1, 0, 0xff, 0xff, 'x'}, nil},
		{"not such a file at all", []byte("#!/bin/sh\necho hello\n"), nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := xauthority(tt.file, "ws", "0", "0"); string(got) != string(tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
