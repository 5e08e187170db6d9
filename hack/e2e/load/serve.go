package load

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// Server lets one load at a time be started and stopped from outside, and single operations be asked for.
type Server struct {
	mu  sync.Mutex
	run *Run
}

// stopLimit bounds how long Stop may take to read everything back.
const stopLimit = 40 * time.Second

// One is a single operation, performed with the Go client.
type One struct {
	Endpoints []string      `json:"endpoints"`
	Key       string        `json:"key"`
	Value     string        `json:"value"` // to be written; empty means that the key is read
	Timeout   time.Duration `json:"timeout"`
}

// Answer is what became of a single operation.
type Answer struct {
	Value string `json:"value"`
	Found bool   `json:"found"`
	Error string `json:"error,omitempty"`
}

// Job is keys to be filled in.
type Job struct {
	Endpoints []string `json:"endpoints"`
	Prefix    string   `json:"prefix"`
	Keys      int      `json:"keys"`
}

// Handler serves POST /start (a Plan), GET /stats, POST /stop (answers a packed Result), POST /one (a One,
// answers an Answer), POST /fill (a Job) and GET /ready.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("POST /start", func(w http.ResponseWriter, r *http.Request) {
		var p Plan
		reply(w, nil, errors.Join(json.NewDecoder(r.Body).Decode(&p), s.start(p)))
	})
	mux.HandleFunc("GET /stats", func(w http.ResponseWriter, _ *http.Request) {
		run, err := s.current()
		if err != nil {
			reply(w, nil, err)
			return
		}
		reply(w, run.Stats(), nil)
	})
	mux.HandleFunc("POST /stop", s.stop)
	mux.HandleFunc("POST /one", func(w http.ResponseWriter, r *http.Request) {
		var o One
		if err := json.NewDecoder(r.Body).Decode(&o); err != nil {
			reply(w, nil, err)
			return
		}
		reply(w, o.perform(r.Context()), nil)
	})
	mux.HandleFunc("POST /fill", func(w http.ResponseWriter, r *http.Request) {
		var j Job
		err := json.NewDecoder(r.Body).Decode(&j)
		if err == nil {
			err = Fill(r.Context(), j.Endpoints, j.Prefix, j.Keys)
		}
		reply(w, nil, err)
	})
	return mux
}

func reply(w http.ResponseWriter, body any, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	if body == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	// The caller may be gone; there is nobody left to tell.
	_ = json.NewEncoder(w).Encode(body)
}

func (s *Server) start(p Plan) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.run != nil {
		return errors.New("a load is on already: stop it first")
	}
	run, err := Start(p)
	s.run = run
	return err
}

func (s *Server) current() (*Run, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.run == nil {
		return nil, errors.New("no load is on: start one first")
	}
	return s.run, nil
}

func (s *Server) stop(w http.ResponseWriter, r *http.Request) {
	run, err := s.current()
	if err != nil {
		reply(w, nil, err)
		return
	}
	s.mu.Lock()
	s.run = nil
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(r.Context(), stopLimit)
	defer cancel()
	result, err := run.Stop(ctx)
	var packed bytes.Buffer
	if err = errors.Join(err, result.Pack(&packed)); err != nil {
		reply(w, nil, err)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	_, _ = w.Write(packed.Bytes()) // the caller may be gone
}

// Pack writes a result so that Unpack reads it.
func (r Result) Pack(w io.Writer) error {
	z := gzip.NewWriter(w)
	return errors.Join(json.NewEncoder(z).Encode(r), z.Close())
}

// Unpack reads what Pack has written.
func Unpack(r io.Reader) (Result, error) {
	var result Result
	z, err := gzip.NewReader(r)
	if err != nil {
		return result, err
	}
	return result, errors.Join(json.NewDecoder(z).Decode(&result), z.Close())
}

func (o One) perform(ctx context.Context) Answer {
	ctx, cancel := context.WithTimeout(ctx, max(o.Timeout, time.Millisecond))
	defer cancel()
	client, err := Dial(o.Endpoints)
	if err != nil {
		return Answer{Error: err.Error()}
	}
	defer client.Close()
	if o.Value != "" {
		if _, err = client.Put(ctx, o.Key, o.Value); err != nil {
			return Answer{Error: err.Error()}
		}
		return Answer{Value: o.Value, Found: true}
	}
	got, err := client.Get(ctx, o.Key)
	switch {
	case err != nil:
		return Answer{Error: err.Error()}
	case len(got.Kvs) == 0:
		return Answer{}
	}
	return Answer{Value: string(got.Kvs[0].Value), Found: true}
}
