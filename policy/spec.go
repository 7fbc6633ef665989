package policy

import (
	"cmp"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// ociVersion is what the spec says it follows. crun of Debian 12 refuses a
// version without "1.0" in it, and nothing that came later changes the meaning
// of what stands in the spec.
const ociVersion = "1.0.2"

// Compiled is a profile and a command as an OCI bundle: what runs.
type Compiled struct {
	Spec *specs.Spec
	// Tree is the bundle's own files, with paths relative to the bundle folder,
	// parents before children.
	Tree []TreeEntry
	// HostDirs are folders to make on the host before the start.
	HostDirs []HostDir
	// Warnings are things the user should know though nothing is wrong.
	Warnings []Problem

	connected string // what of the desktop session only jail connects
}

// TreeEntry is one file of a bundle; Mode says of which type.
type TreeEntry struct {
	Path    string
	Mode    fs.FileMode
	Content []byte
	Target  string // of a symlink
}

// Annotations, all under one prefix: what OCI has no field for. jail understands
// them when it runs a bundle, other runtimes pass over them.
const (
	annotationProfile       = "dev.jail.profile"                   // its name
	annotationOrigins       = "dev.jail.origins"                   // JSON object: pointer into the spec to file:line:column
	annotationEnforcement   = "dev.jail.enforcement"               // JSON object: layer to prefer or off
	annotationSymlinks      = "dev.jail.symlinks"                  // JSON list of {path, target}: links below a mount
	annotationDieWithParent = "dev.jail.die-with-parent"           // true or false
	annotationTimeout       = "dev.jail.timeout"                   // a Go duration
	annotationDenyWriteExec = "dev.jail.memory-deny-write-execute" // true
	annotationCoreSched     = "dev.jail.core-scheduling"           // true
	annotationTerminal      = "dev.jail.terminal"                  // auto, always or never
	annotationNetwork       = "dev.jail.network"                   // JSON object
	annotationRooms         = "dev.jail.rooms"                     // JSON list of {name, path}: folders of helpers outside
	annotationDesktop       = "dev.jail.desktop"                   // JSON object: what those helpers are to connect
)

// compiler carries what the files spec_*.go share while they write one spec.
type compiler struct {
	r       *Resolved
	spec    *specs.Spec
	tree    []TreeEntry
	origins []originAt
	links   []TreeEntry // symlinks below a mount: Path inside and Target
	rooms   []*Entry    // folders in which helpers outside offer sockets

	warnings []Problem // beside those of the profile
}

type originAt struct{ pointer, origin string }

// origin notes which line of a profile a part of the spec comes from.
func (c *compiler) origin(pointer string, o Origin) {
	if o.File != "" {
		c.origins = append(c.origins, originAt{pointer, o.String()})
	}
}

// Spec translates the profile into an OCI runtime spec that runs args. It looks
// at nothing but r: the same r and args always give the same bundle.
func (r *Resolved) Spec(args []string) (*Compiled, error) {
	if len(args) == 0 || args[0] == "" {
		return nil, Problems{{File: FileCommandLine, Cause: "no program to run", Fix: "name one: jail PROGRAM ARGS..."}}
	}
	for i, a := range args {
		if strings.ContainsRune(a, 0) {
			return nil, Problems{{File: FileCommandLine, Cause: "argument " + strconv.Itoa(i) + " of the program holds a NUL byte",
				Fix: "a program's arguments end at the first NUL (execve(2))"}}
		}
	}
	c := &compiler{r: r, spec: &specs.Spec{Version: ociVersion, Linux: &specs.Linux{}}}
	c.mounts()
	c.process(args)
	c.namespaces()
	c.resources()
	var err error
	if r.level("seccomp") != "off" {
		if c.spec.Linux.Seccomp, err = c.seccomp(); err != nil {
			return nil, err
		}
	}
	c.annotations()
	return &Compiled{Spec: c.spec, Tree: c.tree, HostDirs: r.HostDirs, Warnings: slices.Concat(r.Warnings, c.warnings), connected: connected(&r.Desktop)}, nil
}

// annotations writes what OCI has no field for.
func (c *compiler) annotations() {
	r, a := c.r, map[string]string{}
	a[annotationProfile] = r.Name.V
	a[annotationDieWithParent] = strconv.FormatBool(r.Process.DieWithParent.Or(true))
	if r.Process.Terminal.Set {
		a[annotationTerminal] = r.Process.Terminal.V
	}
	if t := r.Process.Timeout; t.Set && t.V > 0 {
		a[annotationTimeout] = t.V.String()
	}
	if r.Process.DenyWriteExec.Or(false) {
		a[annotationDenyWriteExec] = "true"
		c.origin("/annotations/"+annotationDenyWriteExec, r.Process.DenyWriteExec.Origin)
	}
	if r.Process.CoreScheduling.Or(false) {
		a[annotationCoreSched] = "true"
		c.origin("/annotations/"+annotationCoreSched, r.Process.CoreScheduling.Origin)
	}
	if len(r.Enforcement) > 0 {
		b := []byte{'{'}
		for _, e := range r.Enforcement {
			b = appendMember(b, e.Layer, e.Level)
			if e.Layer == "namespaces" {
				c.origin("/annotations/"+annotationEnforcement+"/"+e.Layer, e.Origin)
			}
		}
		a[annotationEnforcement] = string(append(b, '}'))
	}
	if len(c.links) > 0 {
		b := []byte{'['}
		for i, l := range c.links {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendMember(append(b, '{'), "path", l.Path)
			b = append(appendMember(b, "target", l.Target), '}')
		}
		a[annotationSymlinks] = string(append(b, ']'))
	}
	if n := c.network(); n != "" {
		a[annotationNetwork] = n
	}
	if len(c.rooms) > 0 {
		a[annotationRooms], a[annotationDesktop] = c.roomList(), c.desktop()
	}
	slices.SortStableFunc(c.origins, func(x, y originAt) int { return cmp.Compare(x.pointer, y.pointer) })
	b := []byte{'{'}
	for _, o := range c.origins {
		b = appendMember(b, o.pointer, o.origin)
	}
	a[annotationOrigins] = string(append(b, '}'))
	c.spec.Annotations = a
}

// appendMember adds `"key":"value"` to a JSON object that b has opened. Written
// by hand because this runs at every start, where encoding/json costs more than
// all the rest of the compiler.
func appendMember(b []byte, key, value string) []byte {
	if last := b[len(b)-1]; last != '{' {
		b = append(b, ',')
	}
	b = appendJSON(b, key)
	return appendJSON(append(b, ':'), value)
}

// appendJSON adds s as a JSON string (RFC 8259, section 7).
func appendJSON(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for _, r := range s { // bytes that are not UTF-8 become U+FFFD
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r < 0x20:
			b = append(b, '\\', 'u', '0', '0', hex[r>>4], hex[r&15])
		default:
			b = append(b, string(r)...)
		}
	}
	return append(b, '"')
}
