# The image of both the operator and the members: one static binary, nothing else, not root.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /out/raftsman ./cmd/raftsman

FROM scratch
COPY --from=build /out/raftsman /raftsman
USER 65532:65532
EXPOSE 2379 2380 2381 2382
ENTRYPOINT ["/raftsman"]
