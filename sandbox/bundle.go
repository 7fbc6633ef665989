package sandbox

import (
	"io/fs"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// A Bundle is what the launcher runs: an OCI runtime configuration and the files that lie beside it
// (OCI runtime-spec, bundle.md). The files are either in a folder or in memory; those in memory are made on a
// private tmpfs that only the sandbox's own mount namespace ever sees.
type Bundle struct {
	Spec *specs.Spec
	// Dir is the absolute path of the bundle's folder; empty for a bundle in memory.
	Dir string
	// Resolved says that whoever made the configuration followed every symbolic link of the host's paths in it, and
	// decided by what they led to. A link that is met all the same was put there since, and is refused.
	Resolved bool
	// Tree holds the files of a bundle in memory, parents before children.
	Tree []TreeEntry
	// GivenNetwork says that the network namespace the configuration asks for is made by the caller and handed to
	// Start, as Options.NetNS.
	GivenNetwork bool
	// NetworkRoot says that the caller's ids are 0, and not themselves, in the user namespace that owns that network.
	NetworkRoot bool
	// NoNamespaces says why this machine lets none be made, to a configuration that prefers them and can do without; nil
	// where they can be had. See LackingNamespaces.
	NoNamespaces *Lack
	// Overlays are files that the caller makes for this start and puts, read-only, over what the configuration has
	// at their place: what a network's names are resolved with.
	Overlays []Overlay
	// Own lists what of the host no program in a sandbox may write, or see, whatever the configuration says: jail's
	// profiles, state and caches. What made the bundle need not know of them. A bundle that jail compiled has its
	// own covers for them and lists nothing here.
	Own []OwnPath
}

// An Overlay is one such file.
type Overlay struct {
	Path    string // inside, absolute
	Content []byte
}

// An OwnPath is a file or directory of jail's own.
type OwnPath struct {
	Path   string // absolute
	Hidden bool   // not only write-protected
	What   string // for messages: "jail's profiles"
	// Except lists directories below it that a configuration may name as the source of a mount.
	Except []string
}

// A TreeEntry is one file of a bundle in memory.
type TreeEntry struct {
	Path    string      // relative to the bundle, clean
	Mode    fs.FileMode // type (directory, symbolic link, regular) and permission bits
	Content []byte      // of a regular file
	Target  string      // of a symbolic link
}

// Annotations through which a configuration says what OCI has no field for. docs/how-it-works.md lists them.
const (
	annotationPrefix      = "dev.jail."
	annotationProfile     = annotationPrefix + "profile"
	annotationOrigins     = annotationPrefix + "origins"
	annotationEnforcement = annotationPrefix + "enforcement"
	annotationSymlinks    = annotationPrefix + "symlinks"
	annotationDieWith     = annotationPrefix + "die-with-parent"
	annotationTimeout     = annotationPrefix + "timeout"
	annotationDenyWrite   = annotationPrefix + "memory-deny-write-execute"
	annotationCoreSched   = annotationPrefix + "core-scheduling"
	annotationRooms       = annotationPrefix + "rooms"
)
