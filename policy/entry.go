package policy

import (
	"io/fs"
	"slices"
	"strconv"
	"strings"
)

// kind reads what an entry puts at its path; exactly one key says so.
func (t *tree) kind(i *fsItem, s *FilesystemItem) bool {
	r := t.r
	var kinds []string
	if s.Mode.Set {
		kinds = append(kinds, "mode")
		i.Kind = Kind(s.Mode.V)
	}
	if s.Persist.Set {
		kinds = append(kinds, "persist")
		i.Kind = KindPersist
	}
	if s.Tmpfs != nil {
		kinds = append(kinds, "tmpfs")
		i.Kind = KindTmpfs
	}
	if s.Overlay != nil {
		kinds = append(kinds, "overlay")
		i.Kind = KindOverlay
	}
	if s.Content != nil {
		kinds = append(kinds, "content")
		i.Kind = KindContent
	}
	if s.Symlink.Set {
		kinds = append(kinds, "symlink")
		i.Kind = KindSymlink
	}
	if s.Dir != nil {
		kinds = append(kinds, "dir")
		i.Kind = KindDir
	}
	switch {
	case len(kinds) == 0 && r.hasProblemAt(s.Origin):
		return false // the key that says it is there, with a wrong value
	case len(kinds) == 0:
		r.fail(s.Origin, i.key, "does not say what to put at "+printable(i.Path), "add one of mode, persist, tmpfs, overlay, content, symlink, dir, hide")
		return false
	case len(kinds) > 1:
		r.fail(s.Origin, i.key, strings.Join(kinds, " and ")+" in one entry", "keep one of them")
		return false
	case s.Source.Set && i.Kind != KindRO && i.Kind != KindRW && i.Kind != KindOverlay:
		r.fail(s.Source.Origin, i.key+".source", "a "+kinds[0]+" entry has no source", "source goes with mode or overlay")
		return false
	case i.Path == "/" && !slices.Contains([]Kind{KindRO, KindRW, KindTmpfs, KindOverlay}, i.Kind):
		r.fail(s.Origin, i.key, "the root cannot be "+kinds[0], "it is one of mode, tmpfs, overlay")
		return false
	}
	return t.detail(i, s)
}

// detail reads what belongs to one kind.
func (t *tree) detail(i *fsItem, s *FilesystemItem) bool {
	r := t.r
	ok := true
	switch i.Kind {
	case KindRO, KindRW:
		i.wanted = i.Path
		if s.Source.Set {
			i.wanted, ok = r.path(s.Source, i.key+".source", useGrant)
		}
		if ok && (under(i.wanted, "/proc") || (i.wanted == "/dev" && i.Path == "/dev")) {
			r.fail(s.Origin, i.key, "the host's "+printable(i.wanted)+" shows what is outside the sandbox", "leave the entry out: jail mounts a new one")
			return false
		}
	case KindPersist:
		if !validName(s.Persist.V) {
			r.fail(s.Persist.Origin, i.key+".persist", quote(s.Persist.V)+" is not a name", nameRule)
			return false
		}
		i.Source, i.SourceType = r.host.persistDir(s.Persist.V), fs.ModeDir
	case KindTmpfs:
		i.Mode = 0o755
		ok = r.size(s.Tmpfs.Size, i.key+".tmpfs.size", &i.Size) && r.bits(s.Tmpfs.Mode, i.key+".tmpfs.mode", &i.Mode)
	case KindDir:
		i.Mode = 0o755
		ok = r.bits(s.Dir.Mode, i.key+".dir.mode", &i.Mode)
	case KindContent:
		i.Mode = 0o644
		var text string
		text, ok = r.text(s.Content.Text, i.key+".content")
		i.Content = []byte(text)
		ok = ok && r.bits(s.Content.Mode, i.key+".content.mode", &i.Mode)
	case KindSymlink:
		i.Target, ok = r.text(s.Symlink, i.key+".symlink")
		if ok && (i.Target == "" || len(i.Target) >= 4096 || strings.IndexByte(i.Target, 0) >= 0) {
			r.fail(s.Symlink.Origin, i.key+".symlink", quote(i.Target)+" cannot be a symbolic link's target", "name what the link leads to")
			return false
		}
		if ok && (i.Target == "~" || strings.HasPrefix(i.Target, "~/")) {
			i.Target = r.host.Home + i.Target[1:]
		}
	case KindOverlay:
		i.wanted = i.Path
		if s.Source.Set {
			i.wanted, ok = r.path(s.Source, i.key+".source", useGrant)
		}
		if ok && s.Overlay.Discard.V && s.Overlay.Keep.Set {
			r.fail(s.Overlay.Origin, i.key+".overlay", "discard and keep in one overlay", "keep one of them")
			return false
		}
		if ok && !s.Overlay.Discard.V && !s.Overlay.Keep.Set && !s.Overlay.Layers.Set {
			r.fail(s.Overlay.Origin, i.key+".overlay", "does not say what becomes of what is written", "write discard, {keep: DIR} or {layers: [DIR, ...]}")
			return false
		}
		if ok && s.Overlay.Layers.Set && s.Source.Set {
			r.fail(s.Source.Origin, i.key+".source", "source and overlay.layers in one entry", "add the source to the layers")
			return false
		}
	}
	return ok
}

func (r *resolver) size(t Text, key string, out *int64) bool {
	if !t.Set {
		return true
	}
	n, err := parseSize(t.V)
	if err == nil && n == 0 {
		err = &varError{"0 leaves no room", "leave the key out for the kernel's default"}
	}
	if err != nil {
		r.fail(t.Origin, key, err.cause, err.fix)
		return false
	}
	*out = n
	return true
}

// bits reads permission bits. Set-uid bits mean nothing inside and are refused.
func (r *resolver) bits(t Text, key string, out *fs.FileMode) bool {
	if !t.Set {
		return true
	}
	n, err := parseMode(t.V, 0o1777)
	if err != nil {
		r.fail(t.Origin, key, err.cause, err.fix)
		return false
	}
	*out = fs.FileMode(n)
	return true
}

// options reads the mount options. nosuid, and nodev where it can be, hold
// without being written.
func (t *tree) options(i *fsItem, s *FilesystemItem) bool {
	for n, o := range s.Options.Items {
		if !o.Set {
			return false
		}
		switch i.Kind {
		case KindContent, KindSymlink, KindDir:
			t.r.fail(o.Origin, i.key+".options["+strconv.Itoa(n)+"]", "mount options on a "+string(i.Kind)+" entry, which is no mount", "take them out")
			return false
		}
		switch o.V {
		case "nosuid", "nodev":
		case "norecursive":
			i.Recursive = false
		default:
			if !slices.Contains(i.Options, o.V) {
				i.Options = append(i.Options, o.V)
			}
		}
	}
	slices.Sort(i.Options)
	return true
}
