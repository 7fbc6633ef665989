package names

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// Upstream asks the host's resolvers, over UDP with TCP for what is too long, and
// keeps answers for their TTL.
type Upstream struct {
	// Refresh, when not nil, is called from time to time while names are looked up, to have SetServers called.
	Refresh func()

	mu      sync.Mutex
	servers []netip.AddrPort
	asked   time.Time
	cache   map[cacheKey]cached
}

type cacheKey struct {
	name string
	kind uint16
}

type cached struct {
	msg   *dns.Msg
	at    time.Time
	until time.Time
}

const (
	maxCached = 2048
	maxKept   = time.Hour
	// tryTimeout is for one try at one server: after it the next is asked too.
	tryTimeout = 2 * time.Second
	// refreshEvery is the least time between two calls of Refresh.
	refreshEvery = 5 * time.Second
)

// NewUpstream makes an Upstream.
func NewUpstream(servers []netip.AddrPort) *Upstream {
	return &Upstream{servers: servers, asked: time.Now(), cache: map[cacheKey]cached{}}
}

// SetServers replaces the resolvers. What others answered is forgotten: they may know other names.
func (u *Upstream) SetServers(servers []netip.AddrPort) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !slices.Equal(u.servers, servers) {
		u.servers = servers
		clear(u.cache)
	}
}

// now gives the resolvers, and asks whether there are others by now.
func (u *Upstream) now() []netip.AddrPort {
	u.mu.Lock()
	defer u.mu.Unlock()
	if t := time.Now(); u.Refresh != nil && t.Sub(u.asked) > refreshEvery {
		u.asked = t
		go u.Refresh()
	}
	return u.servers
}

// Ask looks a name up.
func (u *Upstream) Ask(ctx context.Context, name string, kind uint16) (*dns.Msg, error) {
	key := cacheKey{strings.ToLower(name), kind}
	now := time.Now()
	u.mu.Lock()
	c, ok := u.cache[key]
	u.mu.Unlock()
	if ok && now.Before(c.until) {
		return c.aged(now), nil
	}
	q := new(dns.Msg)
	q.SetQuestion(name, kind)
	q.SetEdns0(1232, false) // fits a packet on every path (RFC 9715)
	last := errors.New("no resolver is known")
	for range 2 {
		for _, s := range u.now() {
			m, err := u.exchange(ctx, q, s)
			if err == nil && (m.Rcode == dns.RcodeSuccess || m.Rcode == dns.RcodeNameError) {
				u.keep(key, m, now)
				return m, nil
			}
			if err == nil {
				err = fmt.Errorf("%s answers %s", s, dns.RcodeToString[m.Rcode])
			}
			last = err
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
		}
	}
	return nil, last
}

// exchange makes one try, from a port of its own with an identifier of its own
// (RFC 5452), and takes only an answer to its question.
func (u *Upstream) exchange(ctx context.Context, q *dns.Msg, server netip.AddrPort) (*dns.Msg, error) {
	q = q.Copy()
	q.Id = dns.Id()
	for _, network := range []string{"udp", "tcp"} {
		d := net.Dialer{Timeout: tryTimeout}
		c, err := d.DialContext(ctx, network, server.String())
		if err != nil {
			return nil, err
		}
		m, err := converse(ctx, &dns.Conn{Conn: c, UDPSize: dns.MaxMsgSize}, q)
		c.Close()
		if err != nil {
			return nil, err
		}
		if !m.Truncated || network == "tcp" {
			return m, nil
		}
	}
	return nil, errors.ErrUnsupported // not reached
}

func converse(ctx context.Context, c *dns.Conn, q *dns.Msg) (*dns.Msg, error) {
	end := time.Now().Add(tryTimeout)
	if d, ok := ctx.Deadline(); ok && d.Before(end) {
		end = d
	}
	if err := c.SetDeadline(end); err != nil {
		return nil, err
	}
	if err := c.WriteMsg(q); err != nil {
		return nil, err
	}
	for {
		m, err := c.ReadMsg()
		if err != nil {
			var ne net.Error
			if _, udp := c.Conn.(*net.UDPConn); !udp || errors.As(err, &ne) {
				return nil, err
			}
			continue // something else that came to this port
		}
		if m.Id == q.Id && m.Response && len(m.Question) == 1 && strings.EqualFold(m.Question[0].Name, q.Question[0].Name) && m.Question[0].Qtype == q.Question[0].Qtype {
			return m, nil
		}
	}
}

// keep stores an answer for the shortest TTL in it.
func (u *Upstream) keep(key cacheKey, m *dns.Msg, now time.Time) {
	ttl := maxKept
	for _, rr := range m.Answer {
		ttl = min(ttl, time.Duration(rr.Header().Ttl)*time.Second)
	}
	if len(m.Answer) == 0 {
		ttl = 0
		for _, rr := range m.Ns {
			if soa, ok := rr.(*dns.SOA); ok {
				ttl = time.Duration(min(soa.Minttl, soa.Hdr.Ttl, 60)) * time.Second
			}
		}
	}
	if ttl == 0 {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.cache) >= maxCached {
		for k, c := range u.cache {
			if now.After(c.until) {
				delete(u.cache, k)
			}
		}
		if len(u.cache) >= maxCached {
			clear(u.cache)
		}
	}
	u.cache[key] = cached{m, now, now.Add(ttl)}
}

// aged is the answer with the TTLs that are left.
func (c cached) aged(now time.Time) *dns.Msg {
	m := c.msg.Copy()
	gone := uint32(now.Sub(c.at) / time.Second)
	for _, rr := range append(m.Answer, m.Ns...) {
		rr.Header().Ttl -= min(gone, rr.Header().Ttl)
	}
	return m
}
