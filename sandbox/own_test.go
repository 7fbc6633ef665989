package sandbox

import (
	"bytes"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// hostileBundle is the text of such a plan.
func hostileBundle(change func(*Bundle, fakeFiles)) (string, error) {
	plan, err := hostilePlan(change)
	if err != nil {
		return "", err
	}
	var text bytes.Buffer
	_, err = plan.WriteTo(&text)
	return text.String(), err
}

// hostilePlan is of a bundle in a folder, as somebody else may have made it, on a machine with jail's own files.
func hostilePlan(change func(*Bundle, fakeFiles)) (*Plan, error) {
	files := fakeFiles{
		"/srv/b/config.json": "file", "/srv/b/rootfs/usr/bin/env": "file", "/srv/b/out": "-> /data", "/srv/b/up": "-> ../../data/upper", "/srv/b/in": "-> rootfs",
		"/srv/b/rootfs/tmp/x": "file", "/srv/b/rootfs/proc/x": "file", "/srv/b/rootfs/dev/null": "file", "/srv/b/layer/x": "file", "/srv/b/work/x": "file",
		"/home/ann/.config/jail/profiles/p.yaml": "file", "/home/ann/.local/state/jail/home/web/x": "file", "/home/ann/.local/bin/jail": "file", "/home/ann/doc/x": "file",
		"/usr/bin/env": "file", "/data/upper/x": "file",
	}
	for _, d := range []string{"null", "zero", "full", "random", "urandom", "tty"} {
		files["/dev/"+d] = "device"
	}
	ids := []specs.LinuxIDMapping{{ContainerID: 1000, HostID: 1000, Size: 1}}
	b := &Bundle{Dir: "/srv/b", Spec: &specs.Spec{
		Version: "1.0.2", Root: &specs.Root{Path: "rootfs", Readonly: true},
		Process: &specs.Process{User: specs.User{UID: 1000, GID: 1000}, Args: []string{"env"}, Cwd: "/", NoNewPrivileges: true},
		Linux: &specs.Linux{UIDMappings: ids, GIDMappings: ids,
			Namespaces: []specs.LinuxNamespace{{Type: "user"}, {Type: "mount"}, {Type: "pid"}, {Type: "network"}}},
	}, Own: []OwnPath{
		{Path: "/srv/b/config.json", What: "the bundle's config.json"},
		{Path: "/home/ann/.config/jail", What: "jail's profiles"},
		{Path: "/home/ann/.local/state/jail", Hidden: true, What: "jail's state", Except: []string{"/home/ann/.local/state/jail/home"}},
		{Path: "/home/ann/.local/bin/jail", What: "the jail program"},
	}}
	change(b, files)
	f := fakeFacts()
	f.Files = files
	return Compile(b, f)
}

func mountOf(source, dest string, options ...string) func(*Bundle, fakeFiles) {
	return func(b *Bundle, _ fakeFiles) {
		b.Spec.Mounts = append(b.Spec.Mounts, specs.Mount{Destination: dest, Type: "bind", Source: source, Options: append([]string{"rbind"}, options...)})
	}
}

func overlayOf(dest string, options ...string) func(*Bundle, fakeFiles) {
	return func(b *Bundle, _ fakeFiles) {
		b.Spec.Mounts = append(b.Spec.Mounts, specs.Mount{Destination: dest, Type: "overlay", Source: "overlay", Options: options})
	}
}

func TestHostileBundlesAreRefused(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Bundle, fakeFiles)
		want   string
	}{
		{"a root that is a link out", func(b *Bundle, _ fakeFiles) { b.Spec.Root.Path = "out" }, "root.path out: leads out of the bundle's folder"},
		{"a root above", func(b *Bundle, _ fakeFiles) { b.Spec.Root.Path = "../b" }, "leads out of the bundle's folder"},
		{"a root above, by way of a folder", func(b *Bundle, _ fakeFiles) { b.Spec.Root.Path = "rootfs/../../../data" }, "leads out of the bundle's folder"},
		{"a first mount that is a link out", mountOf("out", "/"), "leads out of the bundle's folder"},
		{"a source that is a link out", mountOf("out", "/tmp"), "leads out of the bundle's folder"},
		{"a source below a link out", mountOf("out/upper", "/tmp"), "leads out of the bundle's folder"},
		{"a source above", mountOf("../../data", "/tmp"), "leads out of the bundle's folder"},
		{"a source in a link that loops", func(b *Bundle, f fakeFiles) { f["/srv/b/loop"] = "-> loop"; mountOf("loop", "/tmp")(b, f) }, "too many levels"},
		{"a layer that is a link out", overlayOf("/tmp", "lowerdir=out"), "leads out of the bundle's folder"},
		{"an upper layer that is a link out", overlayOf("/tmp", "lowerdir=layer", "upperdir=up", "workdir=work"), "leads out of the bundle's folder"},
		{"a work folder that is a link out", overlayOf("/tmp", "lowerdir=layer", "upperdir=layer", "workdir=out"), "leads out of the bundle's folder"},
		{"a layer by another key", overlayOf("/tmp", "lowerdir=layer", "lowerdir+=/home/ann"), `option "lowerdir+=/home/ann" of an overlay is not supported`},
		{"data layers", overlayOf("/tmp", "lowerdir=layer::/home/ann"), "an empty layer"},
		{"data layers by their own key", overlayOf("/tmp", "lowerdir=layer", "datadir+=/home/ann"), "is not supported"},
		{"redirects", overlayOf("/tmp", "lowerdir=layer", "redirect_dir=on"), "is not supported"},
		{"metacopy", overlayOf("/tmp", "lowerdir=layer", "metacopy=on"), "is not supported"},
		{"an upper layer twice", overlayOf("/tmp", "lowerdir=layer", "upperdir=layer", "workdir=work", "upperdir=up"), "upperdir= is given twice"},
		{"lower layers twice", overlayOf("/tmp", "lowerdir=layer", "lowerdir=/home/ann"), "lowerdir= is given twice"},
		{"an upper layer without work", overlayOf("/tmp", "lowerdir=layer", "upperdir=layer"), "needs upperdir= and workdir= together"},
		{"an empty layer", overlayOf("/tmp", "lowerdir="), "an empty layer"},
		{"jail's profiles for writing", mountOf("/home/ann/.config/jail", "/tmp"), "would let the program write jail's profiles"},
		{"a part of them", mountOf("/home/ann/.config/jail/profiles", "/tmp"), "would let the program write jail's profiles"},
		{"all persistent homes", mountOf("/home/ann/.local/state/jail/home", "/tmp"), "would let the program write jail's state"},
		{"the jail program", func(b *Bundle, f fakeFiles) {
			f["/srv/b/rootfs/tmp/jail"] = "file"
			mountOf("/home/ann/.local/bin/jail", "/tmp/jail")(b, f)
		}, "would let the program write the jail program"},
		{"its own config.json", func(b *Bundle, f fakeFiles) {
			f["/srv/b/rootfs/tmp/c"] = "file"
			mountOf("config.json", "/tmp/c")(b, f)
		}, "would let the program write the bundle's config.json"},
		{"profiles in what takes an overlay's writes", overlayOf("/tmp", "lowerdir=layer", "upperdir=/home/ann", "workdir=work"), "jail's profiles cannot be kept from it"},
		{"profiles that are not there yet", func(b *Bundle, f fakeFiles) {
			delete(f, "/home/ann/.config/jail/profiles/p.yaml")
			f["/home/ann/.config/x"] = "file"
			mountOf("/home/ann", "/tmp")(b, f)
		}, "would let the program make /home/ann/.config/jail"},
		{"profiles behind a link the program can replace", func(b *Bundle, f fakeFiles) {
			delete(f, "/home/ann/.config/jail/profiles/p.yaml")
			f["/home/ann/.config"], f["/data/conf/jail/p.yaml"] = "-> /data/conf", "file"
			mountOf("/home/ann", "/tmp")(b, f)
		}, "the program could replace the symbolic link /home/ann/.config"},
		{"profiles that cannot be looked at", func(b *Bundle, f fakeFiles) {
			f["/home/ann/.config/jail"] = "closed"
			mountOf("/home/ann", "/tmp")(b, f)
		}, "mount at /tmp: holds jail's profiles, and /home/ann/.config/jail cannot be looked at: permission denied"},
		{"state that cannot be looked at", func(b *Bundle, f fakeFiles) {
			f["/home/ann/.local/state/jail"] = "closed"
			mountOf("/home/ann", "/tmp", "ro")(b, f)
		}, "mount at /tmp: holds jail's state, and /home/ann/.local/state/jail cannot be looked at: permission denied"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if plan, err := hostileBundle(c.change); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("want an error with %q, got %v\n%s", c.want, err, plan)
			}
		})
	}
}

func TestBundlesThatAreHarmless(t *testing.T) {
	for name, change := range map[string]func(*Bundle, fakeFiles){
		"as it is":                       func(*Bundle, fakeFiles) {},
		"a root over a link inside":      func(b *Bundle, _ fakeFiles) { b.Spec.Root.Path = "in" },
		"a source of its own":            mountOf("layer", "/tmp"),
		"an absolute source":             mountOf("/data", "/tmp"),
		"a folder through a link":        func(b *Bundle, f fakeFiles) { f["/b"] = "-> /srv/b"; b.Dir = "/b" },
		"an overlay":                     overlayOf("/tmp", "lowerdir=layer", "upperdir=layer", "workdir=work", "userxattr", "volatile"),
		"one persistent home":            mountOf("/home/ann/.local/state/jail/home/web", "/tmp"),
		"profiles read-only":             mountOf("/home/ann/.config/jail", "/tmp", "ro"),
		"a writable folder without them": mountOf("/home/ann/doc", "/tmp"),
		"closed, and not shown": func(b *Bundle, f fakeFiles) {
			f["/home/ann/.config/jail"] = "closed"
			mountOf("/home/ann/doc", "/tmp")(b, f)
		},
	} {
		plan, err := hostileBundle(change)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if strings.Contains(plan, "mount point, so that") {
			t.Errorf("%s: covered without need:\n%s", name, plan)
		}
	}
}

// TestResolvedPathsHaveNoLinks: what a profile's compiler decided by is not followed anywhere else afterwards.
func TestResolvedPathsHaveNoLinks(t *testing.T) {
	for _, change := range []func(*Bundle, fakeFiles){mountOf("/srv/b/out", "/tmp"), overlayOf("/tmp", "lowerdir=/srv/b/out")} {
		if _, err := hostileBundle(change); err != nil {
			t.Errorf("the control is refused: %v", err)
		}
		_, err := hostileBundle(func(b *Bundle, f fakeFiles) { change(b, f); b.Resolved = true })
		if err == nil || !strings.Contains(err.Error(), "a symbolic link was put in its way during the start, and leads to /data") {
			t.Errorf("a link that was put there since: %v", err)
		}
	}
}

// TestOwnFilesAreCovered: where a writable tree holds jail's own files they are write-protected or hidden, and the
// directories on the way are mount points.
func TestOwnFilesAreCovered(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Bundle, fakeFiles)
		want   []string
	}{
		{"home", mountOf("/home/ann", "/tmp"), []string{
			"make /tmp/.config a mount point", "cover /tmp/.config/jail with itself, read-only",
			"make /tmp/.local a mount point", "make /tmp/.local/state a mount point", "hide the directory /tmp/.local/state/jail",
			"make /tmp/.local/bin a mount point", "cover /tmp/.local/bin/jail with itself, read-only",
		}},
		{"home read-only", mountOf("/home/ann", "/tmp", "ro"), []string{"hide the directory /tmp/.local/state/jail"}},
		{"the bundle's own folder", mountOf("/srv/b", "/tmp"), []string{"cover /tmp/config.json with itself, read-only"}},
		{"covered by the bundle", func(b *Bundle, f fakeFiles) {
			mountOf("/home/ann", "/tmp")(b, f)
			mountOf("/home/ann/.config", "/tmp/.config", "ro")(b, f)
			mountOf("/data", "/tmp/.local")(b, f)
		}, nil},
		{"hidden by the bundle", func(b *Bundle, f fakeFiles) {
			mountOf("/home/ann", "/tmp", "ro")(b, f)
			b.Spec.Linux.MaskedPaths = []string{"/tmp/.local/state"}
		}, []string{"hide the directory /tmp/.local/state"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			plan, err := hostileBundle(c.change)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for line := range strings.Lines(plan) {
				for _, word := range []string{"make /tmp/", "cover /tmp/", "hide the directory /tmp/"} {
					if _, rest, ok := strings.Cut(line, word); ok {
						rest, _, _ = strings.Cut(rest, ", so that")
						rest, _, _ = strings.Cut(rest, "  #")
						got = append(got, strings.TrimSpace(word+rest))
					}
				}
			}
			if strings.Join(got, "\n") != strings.Join(c.want, "\n") {
				t.Errorf("got\n%s\nwant\n%s\nplan\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"), plan)
			}
		})
	}
}
