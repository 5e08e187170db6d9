package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// maxBody bounds a request and an answer, in bytes: a membership of hundreds of members fits.
const maxBody = 1 << 20

// StatusOptions asks for the parts of a status that cost something.
type StatusOptions struct {
	// Hash asks for StateHash.
	Hash bool
	// Quorum asks for Quorate: one linearizable read. One that is not answered before the context ends leaves
	// Quorate false and is not an error.
	Quorum bool
}

// quorumPatience bounds the linearizable read of a status, so that the rest of the report still arrives while
// there is no quorum. It is shorter than what the operator waits for a report, and longer than an election.
const quorumPatience = 1500 * time.Millisecond

// Node is what the endpoint needs of a member. A refusal is an *Error; any other error is answered as
// ReasonUnavailable, because its outcome may be unknown.
type Node interface {
	Status(ctx context.Context, options StatusOptions) (Status, error)
	Form(ctx context.Context, request FormRequest) error
	Change(ctx context.Context, request ChangeRequest) error
	Transfer(ctx context.Context, request TransferRequest) error
	Open(ctx context.Context, request OpenRequest) error
}

// NewHandler serves a member's status and membership endpoint: GET /v1/status, and POST /v1/form, /v1/change,
// /v1/transfer and /v1/open. Every answer that is not 2xx has an *Error as its body.
func NewHandler(m Node) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		options := StatusOptions{Hash: query.Get("hash") == "1", Quorum: query.Get("quorum") == "1"}
		ctx := r.Context()
		if options.Quorum {
			patient, cancel := context.WithTimeout(ctx, quorumPatience)
			defer cancel()
			ctx = patient
		}
		status, err := m.Status(ctx, options)
		if err != nil {
			refuse(w, err)
			return
		}
		answer(w, http.StatusOK, status)
	})
	handle(mux, "form", m.Form)
	handle(mux, "change", m.Change)
	handle(mux, "transfer", m.Transfer)
	handle(mux, "open", m.Open)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		answer(w, http.StatusNotFound, &Error{Reason: ReasonInvalid, Message: fmt.Sprintf("there is no %s %s here: GET /v1/status, or POST /v1/form, /v1/change, /v1/transfer or /v1/open", r.Method, r.URL.Path)})
	})
	return mux
}

// handle serves POST /v1/<verb> with a request of type T.
func handle[T any](mux *http.ServeMux, verb string, do func(context.Context, T) error) {
	mux.HandleFunc("POST /v1/"+verb, func(w http.ResponseWriter, r *http.Request) {
		var request T
		if err := decode(http.MaxBytesReader(w, r.Body, maxBody), &request); err != nil {
			refuse(w, &Error{Reason: ReasonInvalid, Message: fmt.Sprintf("the body of %s is not a valid request: %v", verb, err)})
			return
		}
		if err := do(r.Context(), request); err != nil {
			refuse(w, err)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
}

// decode reads exactly one JSON value without unknown fields.
func decode(r io.Reader, into any) error {
	d := json.NewDecoder(r)
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the request")
	}
	return nil
}

func refuse(w http.ResponseWriter, err error) {
	var refusal *Error
	if !errors.As(err, &refusal) {
		refusal = &Error{Reason: ReasonUnavailable, Message: err.Error()}
	}
	answer(w, code(refusal.Reason), refusal)
}

// code is the HTTP status of a reason. Clients decide by the reason, not by the code.
func code(r Reason) int {
	switch r {
	case ReasonInvalid:
		return http.StatusBadRequest
	case ReasonUnknownMember:
		return http.StatusNotFound
	case ReasonUnavailable:
		return http.StatusServiceUnavailable
	case ReasonNotLeader:
		return http.StatusMisdirectedRequest
	}
	return http.StatusConflict
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// The peer may be gone; there is nobody left to tell.
	_ = json.NewEncoder(w).Encode(body)
}
