package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// clockTick is the unit of /proc/PID/stat on Linux (USER_HZ, part of the kernel's ABI).
const clockTick = 10 * time.Millisecond

// stat is what /proc/PID/stat says of a process.
type stat struct {
	parent int
	cpu    time.Duration // user and system time of all its threads, ended ones included
}

// parseStat reads /proc/PID/stat. The command's name stands in parentheses and may hold anything.
func parseStat(text []byte) (stat, error) {
	end := bytes.LastIndexByte(text, ')')
	fields := strings.Fields(string(text[end+1:]))
	if end < 0 || len(fields) < 13 {
		return stat{}, fmt.Errorf("process statistics cut short: %q", text)
	}
	parent, err := strconv.Atoi(fields[1])
	user, uerr := strconv.ParseInt(fields[11], 10, 64)
	system, serr := strconv.ParseInt(fields[12], 10, 64)
	return stat{parent: parent, cpu: time.Duration(user+system) * clockTick}, errors.Join(err, uerr, serr)
}

func readStat(pid int) (stat, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, err
	}
	return parseStat(text)
}

// cpuOf is the CPU time that the processes have used together.
func cpuOf(pids []int) (time.Duration, error) {
	sum := time.Duration(0)
	for _, pid := range pids {
		s, err := readStat(pid)
		if err != nil {
			return 0, fmt.Errorf("CPU time of member process %d: %w", pid, err)
		}
		sum += s.cpu
	}
	return sum, nil
}

// children are the processes that pid has started and that still run.
func children(pid int) ([]int, error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, dir := range dirs {
		child, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		if s, err := readStat(child); err == nil && s.parent == pid {
			pids = append(pids, child)
		}
	}
	return pids, nil
}

// parseMemory reads the named sizes, in bytes, from /proc/PID/status.
func parseMemory(text []byte, names ...string) (map[string]int64, error) {
	sizes := map[string]int64{}
	for line := range strings.Lines(string(text)) {
		name, rest, _ := strings.Cut(line, ":")
		for _, wanted := range names {
			if name != wanted {
				continue
			}
			kilobytes, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", strings.TrimSpace(line), err)
			}
			sizes[name] = kilobytes << 10
		}
	}
	if len(sizes) != len(names) {
		return nil, fmt.Errorf("process status lacks one of %v", names)
	}
	return sizes, nil
}

// memoryOf sums the peak resident sets and the present anonymous memory of the processes, in bytes.
func memoryOf(pids []int) (peak, anonymous int64, err error) {
	for _, pid := range pids {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			return 0, 0, err
		}
		sizes, err := parseMemory(text, "VmHWM", "RssAnon")
		if err != nil {
			return 0, 0, err
		}
		peak, anonymous = peak+sizes["VmHWM"], anonymous+sizes["RssAnon"]
	}
	return peak, anonymous, nil
}
