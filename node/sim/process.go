package sim

// pause stops the process for up to a minute; everything that was to happen in it happens after.
func (h *host) pause() {
	h.w.fault("process paused")
	length := h.w.between(100*millisecond, 20*second)
	if h.w.rng.IntN(4) == 0 {
		length = h.w.between(20*second, 60*second)
	}
	h.w.story.line(h.w, h.id, "paused for %d ms", length/millisecond)
	h.resumes = max(h.resumes, h.w.now+length)
	life := h.life
	h.w.after(length, func() {
		if h.life == life {
			h.wake()
		}
	})
}

// wake lets a paused process go on, if its time has come.
func (h *host) wake() {
	life := h.life
	for h.life == life && h.up() && h.w.now >= h.resumes && len(h.held) > 0 {
		do := h.held[0]
		h.held = h.held[1:]
		do()
	}
}

// slowDown gives the disk long answers for a while, up to a hang of half a minute.
func (h *host) slowDown() {
	h.w.fault("disk slow")
	h.diskDelay = h.w.between(5*millisecond, second)
	if h.w.rng.IntN(2) == 0 {
		h.w.fault("disk hangs")
		h.diskDelay = h.w.between(second, 30*second)
	}
	h.later(h.w.between(second, 10*second), func() { h.diskDelay = 0 })
}

// lagBehind makes everything that the process does slow for a while.
func (h *host) lagBehind() {
	h.w.fault("member slow")
	lag := h.w.between(millisecond, 60*millisecond)
	h.lag = lag
	life := h.life
	h.w.after(h.w.between(second, 20*second), func() {
		if h.life == life && h.lag == lag {
			h.lag = 0
		}
	})
}

// kill ends the process and leaves its disk to the operating system.
func (h *host) kill() {
	h.killed = true
	h.crash()
}

// clock is how a host's time runs beside the world's.
type clock struct {
	// percent is how long its ticks are; 0 stands for 100.
	percent int64
	// frozen until then: no ticks, everything else goes on.
	frozen int64
}

// disturbClock lets the time of a host drift, stand still, or jump ahead.
func (h *host) disturbClock() {
	w := h.w
	switch w.rng.IntN(3) {
	case 0:
		h.clock.percent = w.between(30, 300)
		w.fault("clock drifts")
	case 1:
		h.clock.frozen = w.now + w.between(500*millisecond, 30*second)
		w.fault("clock frozen")
	default:
		w.fault("clock jumps")
		ticks := w.between(5, 100)
		h.later(0, func() {
			for range ticks {
				if !h.up() {
					return
				}
				h.replica.Tick()
				h.pump()
			}
		})
	}
}

func (h *host) tick() {
	if h.w.now >= h.clock.frozen || h.w.calm {
		h.replica.Tick()
		h.pump()
	}
	length := int64(tick)
	if p := h.clock.percent; p != 0 && !h.w.calm {
		length = length * p / 100
	}
	h.later(length, h.tick)
}
