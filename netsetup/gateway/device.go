package gateway

import (
	"encoding/binary"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"jail/netsetup/link"
)

const (
	ethernetLen = header.EthernetMinimumSize
	// vnetLen is the length of struct virtio_net_hdr (linux/virtio_net.h).
	vnetLen = 10
	// frameLen holds the largest frame: 64 KiB of a segment that the kernel did
	// not cut, and its headers, need one view of the largest pooled size.
	frameLen = buffer.MaxChunkSize
	// smallFrame is copied out of the large view it was read into, which then
	// serves again: a large view must not be held by a small packet.
	smallFrame = 16 << 10
	// maxGSO is what the stack fits into a frame beside headers, and segmentLen what it then fills with bytes of TCP.
	maxGSO     = 65535 - 128
	segmentLen = maxGSO - header.TCPTotalHeaderMaximumSize - 1
)

// Flags and types of struct virtio_net_hdr.
const (
	vnetNeedsCsum = 1
	vnetDataValid = 2
	vnetTCPv4     = 1
	vnetTCPv6     = 4
)

// device is the stack's end of the link: frames with virtio headers, so that
// neither side cuts segments or adds up checksums.
type device struct {
	fd   int
	file *os.File
	mtu  uint32
	mac  tcpip.LinkAddress

	mu   sync.RWMutex
	disp stack.NetworkDispatcher

	// members gives the hardware address behind an address, and the check of
	// every frame's sender.
	members atomic.Pointer[map[netip.Addr]tcpip.LinkAddress]
	busy    atomic.Bool // a frame is being dealt with
	spoofed atomic.Uint64
	dropped atomic.Uint64
	done    chan struct{}
}

func newDevice(u *link.Uplink, mtu int, mac [6]byte) *device {
	d := &device{
		fd: u.FD, file: os.NewFile(uintptr(u.FD), "uplink"),
		mtu: uint32(mtu), mac: tcpip.LinkAddress(mac[:]), done: make(chan struct{}),
	}
	d.members.Store(&map[netip.Addr]tcpip.LinkAddress{})
	return d
}

// setMembers replaces the table of senders.
func (d *device) setMembers(m map[netip.Addr]tcpip.LinkAddress) { d.members.Store(&m) }

// MTU implements stack.LinkEndpoint.
func (d *device) MTU() uint32 { return d.mtu }

// SetMTU implements stack.LinkEndpoint; the MTU is fixed.
func (d *device) SetMTU(uint32) {}

// MaxHeaderLength implements stack.LinkEndpoint.
func (d *device) MaxHeaderLength() uint16 { return ethernetLen }

// LinkAddress implements stack.LinkEndpoint.
func (d *device) LinkAddress() tcpip.LinkAddress { return d.mac }

// SetLinkAddress implements stack.LinkEndpoint; the address is fixed.
func (d *device) SetLinkAddress(tcpip.LinkAddress) {}

// Capabilities implements stack.LinkEndpoint. There is no address resolution: the
// members' hardware addresses are known. Sums of segments are left to the link by their GSO options.
func (d *device) Capabilities() stack.LinkEndpointCapabilities {
	return stack.CapabilityRXChecksumOffload
}

// GSOMaxSize implements stack.GSOEndpoint.
func (d *device) GSOMaxSize() uint32 { return maxGSO }

// SupportedGSO implements stack.GSOEndpoint.
func (d *device) SupportedGSO() stack.SupportedGSO { return stack.HostGSOSupported }

// ARPHardwareType implements stack.LinkEndpoint.
func (d *device) ARPHardwareType() header.ARPHardwareType { return header.ARPHardwareNone }

// IsAttached implements stack.LinkEndpoint.
func (d *device) IsAttached() bool { d.mu.RLock(); defer d.mu.RUnlock(); return d.disp != nil }

// Wait implements stack.LinkEndpoint.
func (d *device) Wait() { <-d.done }

// Close implements stack.LinkEndpoint.
func (d *device) Close() { d.file.Close() }

// SetOnCloseAction implements stack.LinkEndpoint.
func (d *device) SetOnCloseAction(func()) {}

// ParseHeader implements stack.LinkEndpoint; frames are parsed where they are read.
func (d *device) ParseHeader(*stack.PacketBuffer) bool { return true }

// Attach implements stack.LinkEndpoint. No frame is taken before serve: some may have been waiting for long, and what
// answers them must be there first.
func (d *device) Attach(disp stack.NetworkDispatcher) {
	d.mu.Lock()
	d.disp = disp
	d.mu.Unlock()
}

// serve begins to take frames.
func (d *device) serve() { go d.read() }

// idle tells that no frame waits or is being dealt with.
func (d *device) idle() bool {
	waiting := []unix.PollFd{{Fd: int32(d.fd), Events: unix.POLLIN}}
	n, err := unix.Poll(waiting, 0)
	return !d.busy.Load() && (err != nil || n == 0)
}

// AddHeader implements stack.LinkEndpoint.
func (d *device) AddHeader(pkt *stack.PacketBuffer) {
	var dst netip.Addr
	switch pkt.NetworkProtocolNumber {
	case header.IPv4ProtocolNumber:
		dst = netip.AddrFrom4(header.IPv4(pkt.NetworkHeader().Slice()).DestinationAddress().As4())
	case header.IPv6ProtocolNumber:
		dst = netip.AddrFrom16(header.IPv6(pkt.NetworkHeader().Slice()).DestinationAddress().As16())
	}
	to := (*d.members.Load())[dst]
	if to == "" {
		// Nobody: a frame to oneself is dropped by every receiver.
		to = d.mac
	}
	header.Ethernet(pkt.LinkHeader().Push(ethernetLen)).Encode(&header.EthernetFields{
		SrcAddr: d.mac, DstAddr: to, Type: pkt.NetworkProtocolNumber,
	})
}

// WritePackets implements stack.LinkWriter. A packet that the link does not take is lost, and those behind it, which may
// be others', are not.
func (d *device) WritePackets(pkts stack.PacketBufferList) (written int, last tcpip.Error) {
	for _, pkt := range pkts.AsSlice() {
		if err := d.write(pkt); err != nil {
			last = err
			continue
		}
		written++
	}
	return written, last
}

func (d *device) write(pkt *stack.PacketBuffer) tcpip.Error {
	var vnet [vnetLen]byte
	if g := pkt.GSOOptions; g.Type != stack.GSONone {
		binary.LittleEndian.PutUint16(vnet[2:], uint16(pkt.HeaderSize()))
		if g.NeedsCsum {
			vnet[0] = vnetNeedsCsum
			binary.LittleEndian.PutUint16(vnet[6:], ethernetLen+g.L3HdrLen)
			binary.LittleEndian.PutUint16(vnet[8:], g.CsumOffset)
		}
		if pkt.Data().Size() > int(g.MSS) {
			vnet[1] = vnetTCPv4
			if g.Type == stack.GSOTCPv6 {
				vnet[1] = vnetTCPv6
			}
			binary.LittleEndian.PutUint16(vnet[4:], g.MSS)
		}
	}
	var space [10][]byte
	parts := append(space[:0], vnet[:])
	for _, s := range pkt.AsSlices() {
		if len(s) > 0 {
			parts = append(parts, s)
		}
	}
	return d.writeFrame(parts)
}

// writeFrame writes one frame; a full queue drops it, as a link does.
func (d *device) writeFrame(parts [][]byte) tcpip.Error {
	for {
		_, e := writev(d.fd, parts)
		switch e {
		case 0:
			return nil
		case unix.EINTR:
			continue
		case unix.EAGAIN, unix.ENOBUFS:
			d.dropped.Add(1)
			return &tcpip.ErrNoBufferSpace{}
		default:
			d.dropped.Add(1)
			return &tcpip.ErrAborted{}
		}
	}
}

// inject sends a packet that the stack did not make: an ICMP refusal.
func (d *device) inject(proto tcpip.NetworkProtocolNumber, to netip.Addr, packet []byte) {
	mac := (*d.members.Load())[to]
	if mac == "" {
		return
	}
	eth := make(header.Ethernet, ethernetLen)
	eth.Encode(&header.EthernetFields{SrcAddr: d.mac, DstAddr: mac, Type: proto})
	d.writeFrame([][]byte{make([]byte, vnetLen), eth, packet})
}

// read takes frames off the link until it is closed. Several are taken for one
// turn of the poller, each by one call for up to 64 KiB.
func (d *device) read() {
	defer close(d.done)
	rc, err := d.file.SyscallConn()
	if err != nil {
		return
	}
	var vnet [vnetLen]byte
	view := buffer.NewViewSize(frameLen)
	var spill [ethernetLen + 64]byte // the largest frames exceed a view by their headers
	err = rc.Read(func(uintptr) bool {
		d.busy.Store(true)
		defer d.busy.Store(false)
		for {
			n, e := readv(d.fd, vnet[:], view.AsSlice(), spill[:])
			if e == unix.EINTR {
				continue
			}
			if e != 0 || n <= 0 {
				return e != unix.EAGAIN
			}
			view = d.frame(vnet[0], view, n-vnetLen, spill[:])
		}
	})
	_ = err // the link was closed
}

// frame hands one frame to the stack and gives the view for the next.
func (d *device) frame(flags byte, view *buffer.View, n int, spill []byte) *buffer.View {
	if n < ethernetLen+header.IPv4MinimumSize {
		return view
	}
	eth := header.Ethernet(view.AsSlice())
	proto, ok := d.admit(eth, n)
	if !ok {
		return view
	}
	var payload buffer.Buffer
	switch {
	case n <= smallFrame:
		payload = buffer.MakeWithData(view.AsSlice()[ethernetLen:n])
	case n <= frameLen:
		view.CapLength(n)
		view.TrimFront(ethernetLen)
		payload = buffer.MakeWithView(view)
		view = buffer.NewViewSize(frameLen)
	default:
		view.TrimFront(ethernetLen)
		payload = buffer.MakeWithView(view)
		_ = payload.Append(buffer.NewViewWithData(spill[:n-frameLen]))
		view = buffer.NewViewSize(frameLen)
	}
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: payload})
	pkt.NetworkProtocolNumber = proto
	// A sum the sender left to its link, or that the kernel has checked.
	pkt.RXChecksumValidated = flags&(vnetNeedsCsum|vnetDataValid) != 0
	d.mu.RLock()
	disp := d.disp
	d.mu.RUnlock()
	if disp != nil {
		disp.DeliverNetworkPacket(proto, pkt)
	}
	pkt.DecRef()
	return view
}

// admit lets in IP packets whose source is the address of the member that the
// frame's hardware address belongs to. ARP is not among them: each side knows
// the other. So nothing but IP under one's own name enters the stack.
func (d *device) admit(eth header.Ethernet, n int) (tcpip.NetworkProtocolNumber, bool) {
	var src netip.Addr
	proto := eth.Type()
	switch proto {
	case header.IPv4ProtocolNumber:
		src = netip.AddrFrom4([4]byte(eth[ethernetLen+12:]))
	case header.IPv6ProtocolNumber:
		if n < ethernetLen+header.IPv6MinimumSize {
			return 0, false
		}
		src = netip.AddrFrom16([16]byte(eth[ethernetLen+8:]))
	default:
		return 0, false
	}
	if mac, known := (*d.members.Load())[src]; !known || mac != eth.SourceAddress() || eth.DestinationAddress() != d.mac {
		d.spoofed.Add(1)
		return 0, false
	}
	return proto, true
}
