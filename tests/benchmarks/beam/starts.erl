%% Children of one supervisor: what it takes to start one, and what one at rest keeps.
-module(starts).
-export([many/1]).

many(Count) ->
    family:start(),
    erlang:garbage_collect(whereis(family)),
    Before = erlang:memory(total),
    Began = erlang:monotonic_time(),
    [family:start_child(none) || _ <- lists:seq(1, Count)],
    Took = family:us(Began),
    erlang:garbage_collect(), % the list of pids that nobody keeps
    Bytes = (erlang:memory(total) - Before) / Count,
    family:say("{\"start_us\": ~.4f, \"bytes\": ~.1f}", [Took / Count, Bytes]).
