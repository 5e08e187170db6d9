module raftsman.dev

go 1.26
