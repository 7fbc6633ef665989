package sandbox

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// mountOptions is the option list of an OCI mount, sorted into what becomes mount attributes and what the
// file system itself reads (runtime-spec config.md, "Linux mount options").
type mountOptions struct {
	attr      uint64 // MOUNT_ATTR_ bits to set
	clear     uint64 // MOUNT_ATTR_ bits to clear
	readonly  bool
	bind      bool
	recursive bool
	params    []string // of the file system, "key=value" or "key"
}

func parseOptions(options []string) (mountOptions, error) {
	var o mountOptions
	for _, s := range options {
		switch s {
		case "defaults", "rw", "rrw", "suid", "dev", "exec", "diratime", "relatime", "async", "norelatime", "nomand", "silent", "loud",
			"rsuid", "rdev", "rexec", "rrelatime", "rdiratime":
			// what a mount has anyway; an attribute that the source carries is never taken away
		case "ro", "rro":
			o.readonly = true
			o.attr |= unix.MOUNT_ATTR_RDONLY
		case "nosuid", "rnosuid":
			o.attr |= unix.MOUNT_ATTR_NOSUID
		case "nodev", "rnodev":
			o.attr |= unix.MOUNT_ATTR_NODEV
		case "noexec", "rnoexec":
			o.attr |= unix.MOUNT_ATTR_NOEXEC
		case "nosymfollow", "rnosymfollow":
			o.attr |= unix.MOUNT_ATTR_NOSYMFOLLOW
		case "nodiratime", "rnodiratime":
			o.attr |= unix.MOUNT_ATTR_NODIRATIME
		case "noatime", "rnoatime":
			o.attr, o.clear = o.attr|unix.MOUNT_ATTR_NOATIME, o.clear|unix.MOUNT_ATTR__ATIME
		case "strictatime", "rstrictatime":
			o.attr, o.clear = o.attr|unix.MOUNT_ATTR_STRICTATIME, o.clear|unix.MOUNT_ATTR__ATIME
		case "bind":
			o.bind = true
		case "rbind":
			o.bind, o.recursive = true, true
		case "private", "rprivate", "slave", "rslave", "unbindable", "runbindable":
			// every mount of a sandbox is private: nothing propagates in or out
		case "shared", "rshared":
			return o, fmt.Errorf("option %q: mounts of a sandbox are never shared with the host", s)
		case "idmap", "ridmap":
			return o, fmt.Errorf("option %q is not supported", s)
		default:
			o.params = append(o.params, s)
		}
	}
	return o, nil
}

// names spells the attributes for a person, "ro,nosuid,nodev".
func attrNames(attr uint64) string {
	var out []string
	for _, n := range []struct {
		bit  uint64
		name string
	}{
		{unix.MOUNT_ATTR_RDONLY, "ro"}, {unix.MOUNT_ATTR_NOSUID, "nosuid"}, {unix.MOUNT_ATTR_NODEV, "nodev"},
		{unix.MOUNT_ATTR_NOEXEC, "noexec"}, {unix.MOUNT_ATTR_NOSYMFOLLOW, "nosymfollow"},
		{unix.MOUNT_ATTR_NOATIME, "noatime"}, {unix.MOUNT_ATTR_STRICTATIME, "strictatime"}, {unix.MOUNT_ATTR_NODIRATIME, "nodiratime"},
	} {
		if attr&n.bit != 0 {
			out = append(out, n.name)
		}
	}
	if attr&unix.MOUNT_ATTR_RDONLY == 0 {
		out = append([]string{"rw"}, out...)
	}
	return strings.Join(out, ",")
}

// A layers is the directories of an overlay (overlayfs.rst), unescaped.
type layers struct {
	lower       []string
	upper, work string
	rest        []string
}

// overlayParams are the options of an overlay beside its directories that can be had. What is not here could name
// further directories as a path that nobody has looked at (lowerdir+, datadir+), or have the kernel believe redirects
// and metadata in a layer that the program, or whoever filled it, has written (redirect_dir, metacopy; overlayfs.rst,
// "Redirect directories", and CVE-2023-0386 for what trust in a layer leads to).
var overlayParams = []string{
	"userxattr", "volatile", "index=off", "index=on", "metacopy=off", "nfs_export=off", "redirect_dir=off",
	"redirect_dir=nofollow", "xino=auto", "xino=off", "xino=on",
}

// parseOverlay reads lowerdir=, upperdir= and workdir= as the kernel does: a backslash takes the next
// character literally, a colon parts the lower directories.
func parseOverlay(params []string) (layers, error) {
	var l layers
	var seen []string
	for _, p := range params {
		key, value, _ := strings.Cut(p, "=")
		if slices.Contains(seen, key) {
			return l, fmt.Errorf("%s= is given twice", key)
		}
		seen = append(seen, key)
		switch key {
		case "lowerdir":
			l.lower = append(l.lower, unescape(value, ':')...)
		case "upperdir":
			l.upper = strings.Join(unescape(value, 0), "")
		case "workdir":
			l.work = strings.Join(unescape(value, 0), "")
		default:
			if !slices.Contains(overlayParams, p) {
				return l, fmt.Errorf("option %q of an overlay is not supported", p)
			}
			l.rest = append(l.rest, p)
		}
	}
	if len(l.lower) == 0 || slices.Contains(l.lower, "") {
		// The kernel takes "::" for the start of data-only layers, which are reached through metacopy alone.
		return l, fmt.Errorf("an overlay without lowerdir=, or with an empty layer in it")
	}
	if (l.upper == "") != (l.work == "") {
		return l, fmt.Errorf("an overlay needs upperdir= and workdir= together")
	}
	return l, nil
}

// unescape takes backslashes away and splits at each unescaped sep, unless sep is 0.
func unescape(s string, sep byte) []string {
	var out []string
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		case sep != 0 && s[i] == sep:
			out = append(out, b.String())
			b.Reset()
		default:
			b.WriteByte(s[i])
		}
	}
	return append(out, b.String())
}
