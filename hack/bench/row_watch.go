package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// The watch rows. A latency is from the moment before the put until the watcher has the event.
const (
	watchPrefix   = "watched/"
	watchWriters  = 4
	fanOutWidth   = 1000
	latencyWidth  = 64
	watchStreams  = 100
	eventPatience = 20 * time.Second
)

// watchLatency is puts of keys with one watcher each; a client waits for its event before it puts again.
func watchLatency() workload {
	return watching("watch, put to event", latencyWidth, audience{watchers: latencyWidth, keys: latencyWidth})
}

// watchFanOut is puts below a prefix with many watchers; a client waits until all of them have the event before it
// puts again. The rate is that of events.
func watchFanOut() workload {
	return watching(fmt.Sprintf("watch, fan-out to %d", fanOutWidth), watchWriters, audience{watchers: fanOutWidth, keys: watchWriters, prefix: true})
}

func watching(name string, clients int, shape audience) workload {
	return workload{
		name: name, clients: clients, writes: true,
		prepare: func(ctx context.Context, conns []*clientv3.Client) (operation, func(), error) {
			ctx, cancel := context.WithCancel(ctx)
			a := shape
			a.posts = make([]post, a.keys)
			for i := range a.posts {
				a.posts[i].heard = make(chan time.Duration, a.watchers)
			}
			if err := a.gather(ctx, conns); err != nil {
				cancel()
				return nil, nil, err
			}
			return a.tell, cancel, nil
		},
	}
}

// audience is a number of watchers, of one key each or all of the prefix.
type audience struct {
	watchers, keys int
	prefix         bool
	posts          []post
}

// post is one key: the last put of it, and after how long each watcher has heard of that.
type post struct {
	last  atomic.Pointer[letter]
	heard chan time.Duration
}

// letter is one put: its value begins with its number.
type letter struct {
	number uint64
	began  time.Time
}

func (a *audience) key(i int) string { return fmt.Sprintf("%s%06d", watchPrefix, i%a.keys) }

// hearers is how many watchers hear of a key.
func (a *audience) hearers() int {
	if a.prefix {
		return a.watchers
	}
	return a.watchers / a.keys
}

// gather opens the streams and makes the watchers on them, as many on each.
func (a *audience) gather(ctx context.Context, conns []*clientv3.Client) error {
	streams := min(watchStreams, a.watchers)
	for s := range streams {
		stream, err := pb.NewWatchClient(conns[s%len(conns)].ActiveConnection()).Watch(ctx)
		if err != nil {
			return fmt.Errorf("open a watch stream: %w", err)
		}
		for i := s; i < a.watchers; i += streams {
			create := &pb.WatchCreateRequest{Key: []byte(a.key(i))}
			if a.prefix {
				create.Key, create.RangeEnd = []byte(watchPrefix), []byte(clientv3.GetPrefixRangeEnd(watchPrefix))
			}
			if err := stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: create}}); err != nil {
				return fmt.Errorf("create a watcher: %w", err)
			}
			answer, err := stream.Recv()
			if err == nil && (!answer.Created || answer.Canceled) {
				err = errors.New("refused: " + answer.CancelReason)
			}
			if err != nil {
				return fmt.Errorf("create a watcher: %w", err)
			}
		}
		go a.listen(ctx, stream)
	}
	return nil
}

// listen hands on what arrives, until the stream ends; what does not arrive is missed by the client that has put.
func (a *audience) listen(ctx context.Context, stream pb.Watch_WatchClient) {
	for {
		r, err := stream.Recv()
		if err != nil {
			return
		}
		for _, event := range r.Events {
			p := a.find(event.Kv)
			if p == nil {
				continue
			}
			last := p.last.Load()
			if last == nil || last.number != binary.BigEndian.Uint64(event.Kv.Value) {
				continue // of a put that is not waited for any more
			}
			select {
			case p.heard <- time.Since(last.began):
			case <-ctx.Done():
				return
			}
		}
	}
}

// find is the post of a key and value, nil for what is none.
func (a *audience) find(kv *mvccpb.KeyValue) *post {
	i, err := strconv.Atoi(strings.TrimPrefix(string(kv.Key), watchPrefix))
	if err != nil || i < 0 || i >= len(a.posts) || len(kv.Value) < 8 {
		return nil
	}
	return &a.posts[i]
}

// tell puts the worker's key, and waits until everyone has heard of it.
func (a *audience) tell(ctx context.Context, c *clientv3.Client, w *worker) error {
	ctx, cancel := context.WithTimeout(ctx, eventPatience)
	defer cancel()
	p := &a.posts[w.i]
	for len(p.heard) > 0 { // what is left of a put that was not waited for to the end
		<-p.heard
	}
	next := &letter{number: 1, began: time.Now()}
	if last := p.last.Load(); last != nil {
		next.number += last.number
	}
	w.refresh()
	binary.BigEndian.PutUint64(w.value, next.number)
	p.last.Store(next)
	if _, err := c.Put(ctx, a.key(w.i), string(w.value)); err != nil {
		return err
	}
	w.several = w.several[:0]
	for n := range a.hearers() {
		select {
		case took := <-p.heard:
			w.several = append(w.several, took)
		case <-ctx.Done():
			return fmt.Errorf("%d of %d watchers heard of put %d of %s: %w", n, a.hearers(), next.number, a.key(w.i), ctx.Err())
		}
	}
	return nil
}
