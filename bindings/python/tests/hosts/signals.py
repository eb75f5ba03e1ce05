"""Hosts with masks and dispositions of their own, and hosts that are signalled."""

import os
import signal
import time

import host


def blocks_and_ignores_signals(directory):
    """A plugin finds neither, nor what the host has pending."""
    its = host.Host(directory)
    ignored = {signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGCHLD, signal.SIGUSR1}
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)
    assert signal.getsignal(signal.SIGPIPE) is signal.SIG_IGN, "as Python has it"
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    os.kill(os.getpid(), signal.SIGUSR2)
    with its.guest() as plugin, its.attached(plugin, "pod", networks=its.beside("look")):
        seen = (its.directory / "seen").read_text().split()
    sets = dict(zip(seen[::2], (int(word, 16) for word in seen[1::2])))
    empty = {name: sets[name] for name in ("SigPnd:", "ShdPnd:", "SigBlk:", "SigIgn:")}
    assert not any(empty.values()), seen
    assert signal.sigpending() == {signal.SIGUSR2}


def is_signalled_with_its_group(directory):
    """At any moment: between clone and exec a plugin is in the host's group."""
    its = host.Host(directory)
    os.setpgid(0, 0)
    heard = []
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in numbers:
        signal.signal(number, lambda number, _: heard.append(number))

    def signal_group(pause=0.001):
        for number in numbers:
            os.kill(0, number)
        time.sleep(pause)

    with its.guest() as plugin:
        with its.slow_setup(plugin):
            for _ in range(20):
                signal_group()
        with its.repeating(signal_group):
            for _ in range(5):
                its.pod(plugin)
    assert set(heard) == set(numbers)
