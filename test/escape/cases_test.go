package escape

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// An escape is one attack on a sandbox.
type escape struct {
	name     string // the vulnerability or project it stands for, and the class
	profile  string // beyond `extends: [default]`; ${HOME} is filled in
	attack   string // the attack's name and arguments; what starts with / is a program of its own
	terminal bool   // it runs on a terminal
	root     bool   // only root could do it without a sandbox
	notRoot  bool   // root cannot even without the protection: mapping its id takes CAP_SETFCAP, user_namespaces(7)

	always func(*specs.Spec) // a change to the specification that is part of the attack: a bundle may say it

	// What takes the protection away. Without a filter of system calls the plan has neither Landlock nor the limit of
	// nested namespaces that backs the filter.
	loosen  func(*specs.Spec)
	without []string // steps of the plan, by the beginning of their text

	// between is done after the plan is made and before it starts, protected or not: an attacker outside of the sandbox.
	between func(home string)
}

const (
	landlock    = "put the Landlock rules in force"
	descriptors = "close every descriptor but 0, 1, 2"
	shared      = "namespaces: [mount, pid, ipc, uts, net, cgroup]\n" // root is root outside, too
	abi         = "filesystem: [{path: /abi, source: \"~/abi\", mode: ro}]\n"
)

var escapes = []escape{
	{
		name:   "CVE-2017-5226, CVE-2019-10063 and CVE-2023-28100: input for the caller's terminal",
		attack: "type", terminal: true,
		profile: "process: {terminal: never}\n",
		loosen:  noFilter, without: []string{"start a session of its own"},
	},
	{
		name:    "CVE-2019-5736: the launcher's file through /proc/1/exe",
		attack:  "open /proc/1/exe",
		without: []string{"hide pid 1's memory", landlock},
	},
	{
		name:    "CVE-2019-5736: the memory of pid 1",
		attack:  "open /proc/1/mem",
		without: []string{"hide pid 1's memory", landlock},
	},
	{
		name:    "CVE-2019-5736: a script whose interpreter is the launcher",
		profile: "filesystem: [{path: \"~/work\", mode: rw}]\n",
		attack:  "/${HOME}/work/starts-the-launcher",
		without: []string{landlock},
	},
	{
		name:    "CVE-2019-19921, CVE-2023-27561 and CVE-2025-52881: what the masks of /proc cover",
		attack:  "read /proc/key-users",
		without: []string{"hide the file /proc/key-users"},
	},
	{
		name:    "CVE-2021-30465 and CVE-2024-1753: a source swapped for a link between check and mount",
		profile: "filesystem: [{path: /given, source: \"~/work/given\", mode: ro}]\n",
		attack:  "find /given/bait",
		between: func(home string) {
			swap(filepath.Join(home, "work/given"), filepath.Join(home, "secrets"))
		},
		loosen: func(s *specs.Spec) { // what the check said stays believed: the mount follows the path once more
			for i := range s.Mounts {
				if s.Mounts[i].Destination == "/given" {
					s.Mounts[i].Source = strings.Replace(s.Mounts[i].Source, "/work/given", "/secrets", 1)
				}
			}
		},
	},
	{
		name:    "CVE-2024-21626: a descriptor that leaked",
		attack:  "descriptors",
		without: []string{descriptors, landlock},
	},
	{
		name:    "CVE-2024-21626: a working directory through a descriptor",
		attack:  "find bait",
		always:  func(s *specs.Spec) { s.Process.Cwd = "/proc/self/fd/9" }, // which a profile may not say at all
		without: []string{descriptors, landlock},
	},
	{
		name:    "a stream opened once more for what it was not given for",
		attack:  "write-again /proc/self/fd/0",
		without: []string{landlock},
	},
	{
		name:   "CVE-2021-41133: calls that a deny-list does not know",
		attack: "new-mount", notRoot: true,
		loosen: noFilter,
	},
	{
		name:    "nested user namespaces by unshare(2)",
		attack:  "/abi native",
		profile: abi,
		loosen:  noFilter,
	},
	{
		name:   "nested user namespaces by clone(2)",
		attack: "clone",
		loosen: noFilter,
	},
	{
		name:   "nested user namespaces by clone3(2)",
		attack: "clone3",
		loosen: noFilter,
	},
	{
		name:    "the calls of i386",
		attack:  "/abi i386",
		profile: abi,
		loosen:  noFilter,
	},
	{
		name:    "the calls of x32",
		attack:  "/abi x32",
		profile: abi,
		loosen:  noFilter,
	},
	{
		name:   "CVE-2020-15257: an abstract socket of the host's",
		attack: "connect ${ABSTRACT}",
		loosen: without(specs.NetworkNamespace), without: []string{landlock},
	},
	{
		name:   "a port of the host's loopback",
		attack: "dial ${PORT}",
		loosen: without(specs.NetworkNamespace),
	},
	{
		name:   "CVE-2022-0492: a control group mounted from inside",
		attack: "cgroup", notRoot: true,
		loosen: noFilter,
	},
	{
		name:   "IPC left behind by others",
		attack: "shm ${SHM}",
		loosen: without(specs.IPCNamespace), without: []string{"mount a new mqueue", "make the directory /dev/mqueue"},
	},
	{
		name:   "a key of the caller's session",
		attack: "key",
		loosen: noFilter, without: []string{"join a new session keyring"},
	},
	{
		name:    "a hidden file through a link",
		profile: "filesystem: [{path: \"~/work\", mode: rw}, {path: \"~/work/**/.env\", hide: true}]\n",
		attack:  "read ${HOME}/work/link",
		without: []string{"hide the file ${HOME}/work/project/.env"},
	},
	{
		name:    "a program that writes its own next profile",
		profile: "filesystem: [{path: \"~\", mode: rw}]\n",
		attack:  "create ${HOME}/.config/jail/profiles/mine.yaml",
		loosen:  noMount("/.config/jail"),
	},
	{
		name:    "a read-only folder made writable by another mount's flags",
		profile: "filesystem: [{path: /given, source: \"~/work\", mode: ro}]\n",
		attack:  "create /given/made",
		loosen: func(s *specs.Spec) {
			for i := range s.Mounts {
				if s.Mounts[i].Destination == "/given" {
					s.Mounts[i].Options = []string{"rbind", "rw"}
				}
			}
		},
	},
	{
		name:    "the old root behind the new one",
		profile: "filesystem: [{path: ${SELF}, mode: ro}]\n",
		attack:  "/${SELF} attack find ${HOME}/secrets/bait",
		without: []string{"pivot_root into the root", landlock, "make Landlock rules", "close the Landlock rules", "set ro on /", "change to "},
	},
	{
		name:    "root's word on which program the kernel runs for a core file",
		root:    true,
		profile: shared,
		attack:  "write-again /proc/sys/kernel/core_pattern",
		loosen:  func(s *specs.Spec) { s.Linux.ReadonlyPaths, s.Linux.MaskedPaths = nil, nil },
		without: []string{landlock},
	},
	{
		name:    "CVE-2022-0492: a control group mounted by root",
		root:    true,
		profile: shared,
		attack:  "mount-cgroup",
		loosen:  func(s *specs.Spec) { noFilter(s); everyCapability(s) },
		without: []string{"drop the bounding set"},
	},
	{
		name:    "CVE-2022-24769 and CVE-2022-29162: the capabilities of root",
		root:    true,
		profile: shared,
		attack:  "capabilities",
		loosen:  everyCapability,
		without: []string{"drop the bounding set"},
	},
}

// find gives the case whose profile has that name.
func find(name string) *escape {
	for i := range escapes {
		if profileName(i) == name {
			return &escapes[i]
		}
	}
	panic("no case " + name)
}

func profileName(i int) string { return fmt.Sprintf("case-%02d", i+1) }

// command is the program that the case runs, and its arguments.
func (c *escape) command(home string) []string {
	words := strings.Fields(c.fill(c.attack, home))
	if strings.HasPrefix(words[0], "/") {
		words[0] = filepath.Clean(words[0])
		return words
	}
	return append([]string{"/attack", "attack"}, words...)
}

// fill puts in what the test tells of itself in the environment.
func (c *escape) fill(text, home string) string {
	text = strings.ReplaceAll(text, "${HOME}", home)
	for _, name := range []string{"ABSTRACT", "PORT", "SHM", "SELF"} {
		if bait := os.Getenv("BAIT_" + name); bait != "" {
			text = strings.ReplaceAll(text, "${"+name+"}", bait)
		}
	}
	return text
}
