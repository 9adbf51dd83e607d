"""What we use of kafka-python, imported in one place.

Its 3.0 reads its protocol's schemas by a function of the standard library that warns.
"""

from __future__ import annotations

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from kafka import (
        ConsumerRebalanceListener,
        KafkaAdminClient,
        KafkaConsumer,
        KafkaProducer,
        TopicPartition,
    )
    from kafka.admin import ConfigResource, ConfigResourceType, MemberToRemove
    from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
    from kafka.errors import (
        FencedInstanceIdError,
        LogTruncationError,
        MessageSizeTooLargeError,
        NoError,
        OffsetOutOfRangeError,
        TopicAlreadyExistsError,
        UnknownTopicOrPartitionError,
        for_code,
    )
    from kafka.net.compat import KafkaNetClient
    from kafka.protocol.consumer import IsolationLevel, OffsetSpec
    from kafka.protocol.consumer.metadata import ConsumerProtocolAssignment
    from kafka.structs import OffsetAndMetadata

__all__ = [
    "ConfigResource",
    "ConfigResourceType",
    "ConsumerProtocolAssignment",
    "ConsumerRebalanceListener",
    "CooperativeStickyAssignor",
    "FencedInstanceIdError",
    "IsolationLevel",
    "KafkaAdminClient",
    "KafkaConsumer",
    "KafkaNetClient",
    "KafkaProducer",
    "LogTruncationError",
    "MemberToRemove",
    "MessageSizeTooLargeError",
    "NoError",
    "OffsetAndMetadata",
    "OffsetOutOfRangeError",
    "OffsetSpec",
    "TopicAlreadyExistsError",
    "TopicPartition",
    "UnknownTopicOrPartitionError",
    "for_code",
]
