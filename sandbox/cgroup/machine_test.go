package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

// tree makes folders and files below a root: "a/b/" is a folder, "a/b": "text" a file.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, "/") {
			if err := os.MkdirAll(path, 0o755); err != nil {
				t.Fatal(err)
			}
		} else if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// group adds the files of a v2 group to a tree.
func group(files map[string]string, dir, kind, controllers, enabled, procs string) {
	at := "sys/fs/cgroup" + dir
	files[at+"/cgroup.procs"] = procs
	files[at+"/cgroup.controllers"] = controllers
	files[at+"/cgroup.subtree_control"] = enabled
	if kind != "" {
		files[at+"/cgroup.type"] = kind
	}
}

const (
	sysfsLine   = "22 27 0:20 / /sys rw,relatime shared:7 - sysfs sysfs rw\n"
	unifiedLine = "29 22 0:25 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n"
)

func TestLook(t *testing.T) {
	id := strconv.Itoa(os.Geteuid())
	userTree := func(own string, more func(map[string]string)) map[string]string {
		files := map[string]string{
			"run/systemd/system/":                       "",
			"run/user/" + id + "/systemd/private":       "",
			"run/user/" + id + "/bus":                   "",
			"run/systemd/private":                       "",
			"proc/self/mountinfo":                       sysfsLine + unifiedLine,
			"proc/self/cgroup":                          "0::" + own + "\n",
			"sys/fs/cgroup/init.scope/cgroup.procs":     "1\n",
			"sys/fs/cgroup/u/user@.service/init.scope/": "",
		}
		group(files, "", "", "cpu io memory pids\n", "cpu memory pids\n", "2\n3\n")
		group(files, "/u", "domain\n", "cpu memory pids\n", "memory pids\n", "")
		group(files, "/u/user@.service", "domain\n", "memory pids\n", "memory pids\n", "")
		if more != nil {
			more(files)
		}
		return files
	}
	tests := []struct {
		name  string
		files map[string]string
		want  func(root string) []place
	}{
		{
			"a session's scope, and up to the root",
			userTree("/u/session-1.scope", func(f map[string]string) {
				group(f, "/u/session-1.scope", "domain\n", "memory pids\n", "", "7\n8\n")
			}),
			func(root string) []place {
				v2 := root + "/sys/fs/cgroup"
				return []place{
					{dir: v2 + "/u/session-1.scope", writable: true, domain: true, controllers: []string{"memory", "pids"}, procs: []int{7, 8}},
					{dir: v2 + "/u", writable: true, domain: true, controllers: []string{"cpu", "memory", "pids"}, enabled: []string{"memory", "pids"}},
					{dir: v2, writable: true, manager: true, top: true, domain: true, controllers: []string{"cpu", "io", "memory", "pids"}, enabled: []string{"cpu", "memory", "pids"}, procs: []int{2, 3}},
				}
			},
		},
		{
			"a folder in a unit shows that the unit was handed over",
			userTree("/u/user@.service/app.slice/x.service/main", func(f map[string]string) {
				group(f, "/u/user@.service/app.slice", "domain\n", "memory pids\n", "memory pids\n", "")
				group(f, "/u/user@.service/app.slice/x.service", "domain\n", "memory pids\n", "", "")
				group(f, "/u/user@.service/app.slice/x.service/main", "domain\n", "", "", "9\n")
			}),
			func(root string) []place {
				at := root + "/sys/fs/cgroup/u/user@.service/app.slice/x.service"
				return []place{
					{dir: at + "/main", writable: true, domain: true, procs: []int{9}},
					{dir: at, writable: true, delegated: true, domain: true, controllers: []string{"memory", "pids"}},
				}
			},
		},
		{
			"a unit of the user's manager belongs to the manager",
			userTree("/u/user@.service/app.slice/x.service", func(f map[string]string) {
				group(f, "/u/user@.service/app.slice", "domain\n", "memory pids\n", "memory pids\n", "")
				group(f, "/u/user@.service/app.slice/x.service", "domain invalid\n", "memory pids\n", "", "0\n")
			}),
			func(root string) []place {
				at := root + "/sys/fs/cgroup/u/user@.service"
				return []place{
					{dir: at + "/app.slice/x.service", writable: true, controllers: []string{"memory", "pids"}, procs: []int{0}},
					{dir: at + "/app.slice", writable: true, domain: true, controllers: []string{"memory", "pids"}, enabled: []string{"memory", "pids"}},
					{dir: at, writable: true, manager: true, domain: true, controllers: []string{"memory", "pids"}, enabled: []string{"memory", "pids"}},
				}
			},
		},
		{
			"a container whose mount shows a part of the tree",
			func() map[string]string {
				f := map[string]string{
					"proc/self/mountinfo": sysfsLine + strings.Replace(unifiedLine, "0:25 / ", "0:25 /docker/abc ", 1),
					"proc/self/cgroup":    "0::/docker/abc/inner\n",
				}
				group(f, "", "domain\n", "memory\n", "", "")
				group(f, "/inner", "domain\n", "memory\n", "", "1\n")
				return f
			}(),
			func(root string) []place {
				v2 := root + "/sys/fs/cgroup"
				return []place{
					{dir: v2 + "/inner", writable: true, domain: true, controllers: []string{"memory"}, procs: []int{1}},
					{dir: v2, writable: true, domain: true, controllers: []string{"memory"}},
				}
			},
		},
		{
			"a group outside of the namespace cannot be reached",
			map[string]string{"proc/self/mountinfo": unifiedLine, "proc/self/cgroup": "0::/../x\n"},
			func(string) []place { return nil },
		},
		{
			"no cgroups at all",
			map[string]string{"proc/self/mountinfo": sysfsLine, "proc/self/cgroup": ""},
			func(string) []place { return nil },
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			root := tree(t, test.files)
			m, err := look(root)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := fmt.Sprintf("%+v", m.groups), fmt.Sprintf("%+v", test.want(root)); got != want {
				t.Errorf("groups\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func TestLookFindsTheManager(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", "/run/user/4711") // another's, as after su
	id := strconv.Itoa(os.Geteuid())
	files := map[string]string{
		"run/systemd/system/": "", "run/systemd/private": "", "run/user/" + id + "/systemd/private": "", "run/user/" + id + "/bus": "",
		"proc/self/mountinfo": unifiedLine, "proc/self/cgroup": "0::/\n",
		"sys/fs/cgroup/user.slice/user-" + id + ".slice/user@" + id + ".service/cgroup.controllers": "memory pids\n",
	}
	root := tree(t, files)
	m, err := look(root)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"unix:path=" + root + "/run/user/" + id + "/systemd/private", "unix:path=" + root + "/run/user/" + id + "/bus"}
	has := []string{"memory", "pids"}
	if os.Geteuid() == 0 {
		want, has = []string{"unix:path=" + root + "/run/systemd/private"}, nil
	}
	if !reflect.DeepEqual(m.manager, want) || !reflect.DeepEqual(m.managerHas, has) || !m.nsdelegate || !m.systemd {
		t.Errorf("manager %q with %q, nsdelegate %v, systemd %v; want %q with %q", m.manager, m.managerHas, m.nsdelegate, m.systemd, want, has)
	}
	if err := os.RemoveAll(root + "/run/systemd/system"); err != nil {
		t.Fatal(err)
	}
	if m, err = look(root); err != nil || len(m.manager) > 0 || m.systemd {
		t.Errorf("without systemd: manager %q, systemd %v, %v", m.manager, m.systemd, err)
	}
}

func TestLookAtHybrid(t *testing.T) {
	files := map[string]string{
		"proc/self/mountinfo": sysfsLine + "30 22 0:27 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n" +
			"31 30 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n" +
			"32 30 0:29 /box /sys/fs/cgroup/mem\\040ory rw - cgroup cgroup rw,memory\n" +
			"33 30 0:30 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n" +
			"34 30 0:31 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
		"proc/self/cgroup": "4:cpu,cpuacct:/a\n3:memory:/box/b\n2:name=systemd:/\n1:pids:/c\n0::/\n",
	}
	files["sys/fs/cgroup/unified/cgroup.controllers"] = "hugetlb\n"
	files["sys/fs/cgroup/unified/cgroup.subtree_control"] = ""
	files["sys/fs/cgroup/unified/cgroup.procs"] = "1\n"
	root := tree(t, files)
	m, err := look(root)
	if err != nil {
		t.Fatal(err)
	}
	at := root + "/sys/fs/cgroup"
	want := map[string]hierarchy{
		"cpu":          {at + "/cpu,cpuacct", at + "/cpu,cpuacct/a"},
		"cpuacct":      {at + "/cpu,cpuacct", at + "/cpu,cpuacct/a"},
		"memory":       {at + "/mem ory", at + "/mem ory/b"},
		"name=systemd": {at + "/systemd", at + "/systemd"},
	}
	if !reflect.DeepEqual(m.v1, want) {
		t.Errorf("v1 hierarchies\n%+v\nwant\n%+v", m.v1, want)
	}
	if m.v2 != at+"/unified" || m.nsdelegate || !reflect.DeepEqual(m.kernelHas, []string{"hugetlb"}) || len(m.groups) != 1 || !m.groups[0].top {
		t.Errorf("v2 at %s with %q, nsdelegate %v, groups %+v", m.v2, m.kernelHas, m.nsdelegate, m.groups)
	}
}

func TestBelow(t *testing.T) {
	tests := []struct {
		path, root, want string
		ok               bool
	}{
		{"/a/b", "/", "/a/b", true},
		{"/a/b", "/a", "/b", true},
		{"/a", "/a", "", true},
		{"/ab", "/a", "", false},
		{"/b", "/a", "", false},
		{"/../b", "/", "", false},
		{"", "/", "", false},
	}
	for _, test := range tests {
		if got, ok := below(test.path, test.root); got != test.want || ok != test.ok {
			t.Errorf("below(%q, %q) = %q, %v; want %q, %v", test.path, test.root, got, ok, test.want, test.ok)
		}
	}
}

// A line of mountinfo may be longer than what is read at once: an overlay of many layers makes one.
func TestMountsBeyondLongLines(t *testing.T) {
	v1 := "30 29 0:26 / /sys/fs/cgroup/" + strings.Repeat("d", 5000) + "/pids rw - cgroup cgroup rw,pids\n"
	overlay := "28 22 0:24 / /merged rw - overlay overlay rw,lowerdir=" + strings.Repeat("/layer:", 3000) + "\n"
	m := &machine{v1: map[string]hierarchy{}}
	if _, err := m.mounts(strings.NewReader(overlay+v1+overlay+unifiedLine), map[string]string{"": "/", "pids": "/own"}, ""); err != nil {
		t.Fatal(err)
	}
	if m.v2 != "/sys/fs/cgroup" || !m.nsdelegate || len(m.v1["pids"].mount) < 5000 || !strings.HasSuffix(m.v1["pids"].own, "/pids/own") {
		t.Errorf("v2 at %q (nsdelegate %t), v1 %.80v", m.v2, m.nsdelegate, m.v1)
	}
}

func FuzzParseMount(f *testing.F) {
	f.Add(unifiedLine)
	f.Add("31 30 0:28 / /a\\040b rw shared:1 master:2 - cgroup cgroup rw,cpu")
	f.Add("- - -")
	f.Fuzz(func(t *testing.T, line string) {
		if m, ok := parseMount([]byte(line)); ok && (m.kind == "" || m.super == "") {
			t.Errorf("parseMount(%q) = %+v", line, m)
		}
		parseMembership(line)
		parseSet(line)
	})
}
