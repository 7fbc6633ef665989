// Package frames prepares the descriptors that frames leave a gateway's namespace by: a TAP device's, or that of a packet
// socket. Each frame has a virtio header (struct virtio_net_hdr, ten bytes) in front, so that segments of 64 KiB pass whole.
package frames

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TAP prepares a TAP device that TUNSETIFF has made on fd, with virtio headers. Once set up, frames that are not for the
// hardware address gateway, if that is given, are dropped before they are queued.
func TAP(fd int, gateway *[6]byte) error {
	offload := unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6
	if err := unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, offload); err != nil {
		return fmt.Errorf("turn on the TAP device's offloads: %w", err)
	}
	// It goes with its namespace, which the kernel takes down on its own time. Without this it goes with its descriptor,
	// and whoever waits for the end of this process waits for that: unregister_netdevice, 12 to 20 ms.
	if err := unix.IoctlSetInt(fd, unix.TUNSETPERSIST, 1); err != nil {
		return fmt.Errorf("let the TAP device go with its namespace: %w", err)
	}
	if gateway == nil {
		return nil
	}
	program := only(gateway)
	fprog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TUNATTACHFILTER, uintptr(unsafe.Pointer(&fprog))); errno != 0 {
		return fmt.Errorf("filter the TAP device's frames: %w", errno)
	}
	return nil
}

// Socket prepares a packet socket and binds it to the link with that number. gateway is as for TAP.
func Socket(fd, index int, gateway *[6]byte) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1); err != nil {
		return fmt.Errorf("virtio headers: %w", err)
	}
	// As large as net.core.rmem_max lets it be.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 8<<20)
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 8<<20)
	_ = unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1)
	if gateway != nil {
		program := only(gateway)
		fprog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
		if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &fprog); err != nil {
			return fmt.Errorf("filter its frames: %w", err)
		}
	}
	all := uint16(unix.ETH_P_ALL)
	return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all<<8 | all>>8, Ifindex: index})
}

// only is a filter that lets frames for one hardware address through: socket(7), SO_ATTACH_FILTER.
func only(mac *[6]byte) []unix.SockFilter {
	const all = 1<<32 - 1
	return []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 3, K: uint32(mac[0])<<24 | uint32(mac[1])<<16 | uint32(mac[2])<<8 | uint32(mac[3])},
		{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: 4},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: uint32(mac[4])<<8 | uint32(mac[5])},
		{Code: unix.BPF_RET | unix.BPF_K, K: all},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	}
}
