//go:build !linux

package life

import "time"

// Changes has the directory looked at every second.
func Changes(string) (<-chan struct{}, func(), error) {
	changed, done := make(chan struct{}, 1), make(chan struct{})
	go func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			select {
			case changed <- struct{}{}:
			default:
			}
		}
	}()
	return changed, func() { close(done) }, nil
}
