// Package check is what jail's audit and its probe tell each other: which bait was planted, which checks there are,
// and what each of them found.
package check

// A Check is one attempt to do what a sandbox should not let a program do.
type Check struct {
	ID     string `json:"id"`    // unique, "group/what"
	Group  string `json:"group"` // as one of Groups
	What   string `json:"what"`  // the attempt, in words that follow "a program can"
	Why    string `json:"why"`   // what is lost when it succeeds
	Source string `json:"source"`
	// Grant names what a profile says when it means to allow the attempt: see audit.Promises. Empty: no profile can
	// mean to.
	Grant []string `json:"grant,omitempty"`
}

// Groups, in the order in which they are printed.
const (
	Files       = "files"
	Mounts      = "mounts"
	Namespaces  = "namespaces"
	Kernel      = "/proc and /sys"
	Devices     = "devices"
	Descriptors = "descriptors"
	Terminal    = "terminal"
	Processes   = "processes"
	Privileges  = "privileges"
	Calls       = "system calls"
	CallsI386   = "system calls, i386"
	CallsX32    = "system calls, x32"
	Sockets     = "sockets"
	Network     = "network"
	IPC         = "ipc"
	Cgroups     = "control groups"
	Limits      = "limits"
	Environment = "environment"
)

// Groups lists them.
var Groups = []string{Files, Mounts, Namespaces, Kernel, Devices, Descriptors, Terminal, Processes, Privileges, Calls,
	CallsI386, CallsX32, Sockets, Network, IPC, Cgroups, Limits, Environment}

// An Answer is what came of an attempt.
type Answer string

// The answers.
const (
	Held   Answer = "held"   // the attempt failed
	Open   Answer = "open"   // it succeeded, or got as far as the code it was about
	Cannot Answer = "cannot" // it could not be made on this machine
)

// A Finding is a check with its answer: one line of the probe's output, in JSON.
type Finding struct {
	Check
	Answer Answer `json:"answer"`
	Detail string `json:"detail"` // an errno's name, or a few words
}

// Bait is what was planted outside for the probe to reach for, and what the outside looks like. Paths are absolute.
type Bait struct {
	Outside bool   `json:"outside"` // this is the control run
	Home    string `json:"home"`    // a folder like a home, with Secrets in it
	Temp    string `json:"temp"`    // a file in /tmp
	VarTemp string `json:"varTemp"` // one in /var/tmp
	ShmFile string `json:"shmFile"` // one in /dev/shm, "" for none
	Runtime string `json:"runtime"` // a folder as $XDG_RUNTIME_DIR
	Config  string `json:"config"`  // where jail's own profiles of the user lie
	Stderr  string `json:"stderr"`  // the file that the probe has as its standard error, open for writing only
	SetID   string `json:"setID"`   // a program with another owner or group and the set-id bit, "" for none
	Secret  string `json:"secret"`  // the text in every secret, and in the variable JAIL_AUDIT_SECRET

	Namespaces map[string]string `json:"namespaces"` // as /proc/PID/ns shows them outside
	Root       FileID            `json:"root"`       // of / outside
	Terminal   FileID            `json:"terminal"`   // the terminal that the sandbox is started from; zero for none
	Leaked     []int             `json:"leaked"`     // descriptors that the sandbox is started with, a folder first
	UID        int               `json:"uid"`
	Hostname   string            `json:"hostname"`
	Cgroup     string            `json:"cgroup"`    // /proc/PID/cgroup outside
	Processes  int               `json:"processes"` // how many are seen outside

	Keeper
}

// A FileID tells a file from all others while it exists.
type FileID struct {
	Dev uint64 `json:"dev"`
	Ino uint64 `json:"ino"`
}

// Keeper is the bait that lives in a process outside, and what that process says of it.
type Keeper struct {
	PID       int    `json:"pid"`
	Address   uint64 `json:"address"` // of the secret in its memory
	Length    int    `json:"length"`
	FD        int    `json:"fd"`        // a descriptor of it to take
	TCP4      string `json:"tcp4"`      // listeners on the loopback
	TCP6      string `json:"tcp6"`      // "" for none
	UDP4      string `json:"udp4"`      // answers what it is sent
	HostTCP4  string `json:"hostTCP4"`  // a listener on an address of this machine's other than the loopback, "" for none
	Abstract  string `json:"abstract"`  // an abstract socket, without the leading NUL
	X11       string `json:"x11"`       // one as an X server has it
	UnixTemp  string `json:"unixTemp"`  // a socket in /tmp
	UnixRun   string `json:"unixRun"`   // one in Runtime
	Datagram  string `json:"datagram"`  // an abstract datagram socket
	Shm       int    `json:"shm"`       // key of a System V shared memory segment, 0 for none
	ShmID     int    `json:"shmID"`     // its id
	Sem       int    `json:"sem"`       // of a semaphore set
	Msg       int    `json:"msg"`       // of a message queue
	Queue     string `json:"queue"`     // a POSIX message queue, "" for none
	Key       string `json:"key"`       // description of a key in the user's keyring, "" for none
	Namespace int    `json:"namespace"` // descriptor, in the keeper, of a namespace
}
