package hostside

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/containernetworking/cni/libcni"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"jail/netsetup"
)

// Where CNI networks and their plugins are.
const cniConfigs = "/etc/cni/net.d"

var cniPlugins = []string{"/opt/cni/bin", "/usr/lib/cni"}

const (
	// cniOwner begins the container ids of jail's attachments.
	cniOwner = "jail-"
	// cniRecords holds a file for each attachment, with the network's configuration, locked by the process
	// that will undo it and by the plugins while they run: a lock that can be had is that of a process that
	// was killed, or of another boot.
	cniRecords = "/var/lib/cni/jail"
	// cniPath is for plugins that run other programs, such as iptables.
	cniPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	// cniPatience bounds what the plugins of a network may take to do or undo.
	cniPatience = time.Minute
)

// onCNI attaches a namespace to the CNI network that a configuration names, and gives what
// detaches it. What processes that were killed have left is detached first.
func onCNI(c *netsetup.Config, space *os.File) (*netsetup.Uplink, func(), error) {
	fail := func(err error, hint string) (*netsetup.Uplink, func(), error) {
		return nil, nothing, fmt.Errorf("%snetwork cni: %s: %w%s", c.Origin("cni"), c.CNI, err, hint)
	}
	if err := os.Setenv("PATH", cniPath); err != nil {
		return fail(err, "")
	}
	list, err := libcni.LoadNetworkConf(cniConfigs, c.CNI)
	var none libcni.NoConfigsFoundError
	if errors.As(err, &libcni.NotFoundError{}) || errors.As(err, &none) {
		return fail(fmt.Errorf("no file in %s has a network of this name", cniConfigs), "\n'grep name "+cniConfigs+"/*' shows the names")
	}
	if err != nil {
		return fail(err, "")
	}
	cni := libcni.NewCNIConfig(cniPlugins, nil)
	sweepCNI(cni)
	ctx, cancel := context.WithTimeout(context.Background(), cniPatience)
	defer cancel()
	if _, err := cni.ValidateNetworkList(ctx, list); err != nil {
		hint := ""
		if strings.Contains(err.Error(), "failed to find plugin") {
			hint = "\ninstall the package containernetworking-plugins, or the plugin into " + cniPlugins[0]
		}
		return fail(err, hint)
	}
	id, record, err := newRecord(list.Bytes)
	if err != nil {
		return fail(err, "")
	}
	rt := &libcni.RuntimeConf{ContainerID: id, NetNS: fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), space.Fd()), IfName: netsetup.UplinkName}
	undo := func() {
		ctx, cancel := context.WithTimeout(context.Background(), cniPatience)
		defer cancel()
		if err := cni.DelNetworkList(ctx, list, rt); err != nil {
			// The record stays for the next start, which tries again.
			fmt.Fprintf(os.Stderr, "jail net-gateway: network cni: %s: detach: %v\n", c.CNI, err)
		} else {
			_ = os.Remove(record.Name())
		}
		record.Close()
	}
	if _, err := cni.AddNetworkList(ctx, list, rt); err != nil {
		undo() // of what the first plugins of a list have done (CNI specification, "Adding an attachment")
		return fail(err, "")
	}
	mtu, err := mtuOf(space)
	if err != nil {
		undo()
		return fail(err, "")
	}
	return &netsetup.Uplink{Way: "cni", Link: netsetup.UplinkName, MTU: mtu, Ready: true}, undo, nil
}

// newRecord makes the id of an attachment, and its record.
func newRecord(config []byte) (string, *os.File, error) {
	if err := os.MkdirAll(cniRecords, 0o700); err != nil {
		return "", nil, err
	}
	unlock, err := lockRecords()
	if err != nil {
		return "", nil, err
	}
	defer unlock()
	var b [8]byte
	_, _ = rand.Read(b[:]) // does not fail (crypto/rand)
	id := cniOwner + hex.EncodeToString(b[:])
	f, err := os.OpenFile(filepath.Join(cniRecords, id), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		_, err = f.Write(config)
	}
	if err == nil { // for the plugins, which go on when this process is killed
		_, err = unix.FcntlInt(f.Fd(), unix.F_SETFD, 0)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		f.Close()
		return "", nil, fmt.Errorf("write the record %s: %w", f.Name(), err)
	}
	return id, f, nil
}

// lockRecords keeps others from seeing a record between its being made and being locked.
func lockRecords() (unlock func(), err error) {
	dir, err := os.Open(cniRecords)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX); err != nil {
		dir.Close()
		return nil, fmt.Errorf("lock %s: %w", cniRecords, err)
	}
	return func() { dir.Close() }, nil
}

// sweepCNI detaches what nobody is left to detach. An error is for the next start: an
// attachment of another network must not keep this one from starting.
func sweepCNI(cni *libcni.CNIConfig) {
	records, err := filepath.Glob(cniRecords + "/" + cniOwner + "*")
	if err != nil {
		return
	}
	for _, name := range records {
		if f := leftRecord(name); f != nil {
			detachLeft(cni, f)
			f.Close()
		}
	}
}

// leftRecord opens a record that nobody has locked; nil for any other.
func leftRecord(name string) *os.File {
	unlock, err := lockRecords()
	if err != nil {
		return nil
	}
	defer unlock()
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return nil
	}
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		f.Close()
		return nil
	}
	return f
}

// detachLeft detaches a namespace that is gone: the plugins give back what they hold
// for it elsewhere, such as its address.
func detachLeft(cni *libcni.CNIConfig, record *os.File) {
	config, err := io.ReadAll(io.LimitReader(record, maxSetup))
	if err != nil {
		return
	}
	list, err := libcni.NetworkConfFromBytes(config)
	if err != nil {
		_ = os.Remove(record.Name()) // nothing was done before it was whole
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), cniPatience)
	defer cancel()
	rt := &libcni.RuntimeConf{ContainerID: filepath.Base(record.Name()), IfName: netsetup.UplinkName}
	if err := cni.DelNetworkList(ctx, list, rt); err != nil {
		fmt.Fprintf(os.Stderr, "jail net-gateway: network cni: %s: detach what a run that was killed has left: %v\n", list.Name, err)
		return
	}
	_ = os.Remove(record.Name())
}

// mtuOf is that of the link in the gateway's namespace.
func mtuOf(space *os.File) (int, error) {
	h, err := netlink.NewHandleAt(netns.NsHandle(space.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		return 0, fmt.Errorf("look into the namespace: %w", err)
	}
	defer h.Close()
	l, err := h.LinkByName(netsetup.UplinkName)
	if err != nil {
		return 0, fmt.Errorf("the plugins have made no link %s: %w", netsetup.UplinkName, err)
	}
	return l.Attrs().MTU, nil
}
