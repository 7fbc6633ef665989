package main

import (
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"jail/sandbox/audit/check"
)

func cgroupChecks() []probe {
	return []probe{
		{check.Check{ID: "path", What: "see its place among the machine's control groups", Why: "tells of the session and of who started it", Source: "cgroup_namespaces(7)", Grant: []string{"ns:cgroup"}}, func(b *check.Bait) verdict {
			text, err := os.ReadFile("/proc/self/cgroup")
			if err != nil {
				return byError(err)
			}
			for line := range strings.Lines(strings.TrimSpace(string(text))) {
				if parts := strings.SplitN(strings.TrimSpace(line), ":", 3); len(parts) == 3 && parts[2] != "/" {
					return open("%s", parts[2])
				}
			}
			if b.Outside {
				return cannot("the machine's root group is all there is")
			}
			return held("it seems to be the root")
		}},
		anyGroupFile("procs", "move processes to another control group", "leaves its limits", "cgroups(7)", "cgroup.procs"),
		anyGroupFile("limits", "raise the limits of its control group", "memory and processes without end", "cgroups(7)", "memory.max", "pids.max", "memory.limit_in_bytes"),
		anyGroupFile("release-agent", "name a program for the kernel to run when a group is empty", "root runs it outside", "CVE-2022-0492", "release_agent"),
		anyGroupFile("notify", "have the kernel run a program when a group is empty", "root runs it outside", "CVE-2022-0492", "notify_on_release"),
		anyGroupFile("freeze", "stop a control group", "it may be everybody's", "cgroups(7)", "cgroup.freeze", "freezer.state"),
		anyGroupFile("kill", "kill a control group", "it may be everybody's", "cgroups(7)", "cgroup.kill"),
		anyGroupFile("devices", "open devices to its control group", "disks and memory of the machine", "cgroups(7)", "devices.allow"),
		{check.Check{ID: "mkdir", What: "make a control group", Why: "limits are escaped in a group of one's own", Source: "cgroups(7)"}, func(b *check.Bait) verdict {
			last := cannotOrHeld(b, "no control groups in sight")
			for _, dir := range groupFolders() {
				name := filepath.Join(dir, "jail-audit-probe")
				err := os.Mkdir(name, 0o700)
				if err == nil {
					os.Remove(name)
					return open("made one in %s", dir)
				}
				last = byError(err)
			}
			return last
		}},
		{check.Check{ID: "other-groups", What: "see the machine's control groups", Why: "tells which services and users there are", Source: "cgroups(7)", Grant: []string{"read:/sys/fs/cgroup"}}, func(b *check.Bait) verdict {
			for _, dir := range groupFolders() {
				for _, name := range []string{"system.slice", "user.slice", "init.scope", "docker", "machine.slice"} {
					if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
						return open("%s/%s", dir, name)
					}
				}
			}
			return cannotOrHeld(b, "none in sight")
		}},
		{check.Check{ID: "mount", What: "mount a control group file system", Why: "a fresh mount is writable", Source: "CVE-2022-0492", Grant: []string{"cap:SYS_ADMIN"}}, func(*check.Bait) verdict {
			none, _ := unix.BytePtrFromString("none")
			dir, _ := unix.BytePtrFromString("/proc")
			kind, _ := unix.BytePtrFromString("cgroup")
			data, _ := unix.BytePtrFromString("jail-audit-no-such-option") // EINVAL for who may mount
			return byOutcome(try(abiNative, noPrelude, call{nr: unix.SYS_MOUNT, args: [6]uintptr{address(none), address(dir), address(kind), 0, address(data)}}))
		}},
	}
}

// groupFolders are the roots of all hierarchies in sight.
func groupFolders() []string {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return []string{"/sys/fs/cgroup"}
	}
	var dirs []string
	for line := range strings.Lines(string(text)) {
		left, right, _ := strings.Cut(line, " - ")
		f, r := strings.Fields(left), strings.Fields(right)
		if len(f) > 4 && len(r) > 0 && (r[0] == "cgroup" || r[0] == "cgroup2") {
			dirs = append(dirs, f[4])
		}
	}
	return dirs
}

// anyGroupFile opens files of control groups for writing, and writes nothing.
func anyGroupFile(id, what, why, source string, names ...string) probe {
	return probe{check.Check{ID: id, What: what, Why: why, Source: source}, func(b *check.Bait) verdict {
		last := cannotOrHeld(b, "no such file in sight")
		for _, dir := range groupFolders() {
			own := strings.TrimPrefix(groupOf(dir), "/")
			for _, name := range names {
				for _, file := range []string{filepath.Join(dir, name), filepath.Join(dir, own, name)} {
					fd, err := unix.Open(file, unix.O_WRONLY|unix.O_CLOEXEC, 0)
					if err == nil {
						_ = unix.Close(fd)
						return open("%s", file)
					}
					if err != unix.ENOENT {
						last = byError(err)
					}
				}
			}
		}
		return last
	}}
}

// groupOf is this process's group in the hierarchy that is mounted at a folder, by the last part of its name.
func groupOf(dir string) string {
	text, _ := os.ReadFile("/proc/self/cgroup")
	for line := range strings.Lines(string(text)) {
		if parts := strings.SplitN(strings.TrimSpace(line), ":", 3); len(parts) == 3 && (parts[1] == "" || strings.Contains(","+parts[1]+",", ","+filepath.Base(dir)+",")) {
			return parts[2]
		}
	}
	return "/"
}
