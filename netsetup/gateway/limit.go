package gateway

import "jail/netsetup/eth0"

// limit puts the profile's bandwidth on the member's link: what comes in is queued
// on the gateway's end, what goes out on the sandbox's, which the program has no
// capability to change.
func (m *member) limit() error {
	b := m.config.Bandwidth
	if b == nil {
		return nil
	}
	delay, err := b.Latency()
	if err != nil {
		return err
	}
	if err := m.g.space.Shape(m.outer, b.Down, delay); err != nil {
		return err
	}
	return m.space.Shape(eth0.Name, b.Up, delay)
}
