"""Configurations of images and notifications that are made by themselves: kept as they are given, told, and taken away again.

The destinations are what is there to be told of; IMAGE_DESTINATION_URI and NOTIFICATION_DESTINATION_URI name others.
"""

import os

from stage import StreamTest, client

IMAGES_TO = os.environ.get("IMAGE_DESTINATION_URI", "s3://bucket-of-images")
NOTIFY = os.environ.get("NOTIFICATION_DESTINATION_URI", "https://receiver.example/hook")


class Deliveries(StreamTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.create(cls(), "live", DataRetentionInHours=0)
        region = cls.describe(cls(), "live")["StreamARN"].split(":")[3]
        cls.images = {
            "Status": "ENABLED",
            "ImageSelectorType": "PRODUCER_TIMESTAMP",
            "DestinationConfig": {"Uri": IMAGES_TO, "DestinationRegion": region},
            "SamplingInterval": 3000,
            "Format": "JPEG",
            "FormatConfig": {"JPEGQuality": "70"},
            "WidthPixels": 320,
            "HeightPixels": 240,
        }
        cls.notification = {"Status": "ENABLED", "DestinationConfig": {"Uri": NOTIFY}}

    def told(self, name):
        stream = {"StreamName": self.name(name)}
        images = self.kinesis_video.describe_image_generation_configuration(**stream)
        notification = self.kinesis_video.describe_notification_configuration(**stream)
        return images.get("ImageGenerationConfiguration"), notification.get("NotificationConfiguration")

    def update(self, name, images=None, notification=None):
        stream = {"StreamName": self.name(name)}
        if images is not None:
            self.kinesis_video.update_image_generation_configuration(**stream, ImageGenerationConfiguration=images)
        if notification is not None:
            self.kinesis_video.update_notification_configuration(**stream, NotificationConfiguration=notification)

    def test_they_are_told_as_they_were_given_until_they_are_taken_away(self):
        before = self.create("told", DataRetentionInHours=2)["Version"]
        self.assertEqual(self.told("told"), (None, None))
        self.update("told", self.images, self.notification)
        self.assertEqual(self.told("told"), (self.images, self.notification))
        self.assertNotEqual(self.describe("told")["Version"], before)
        disabled = {"Status": "DISABLED"}
        self.update("told", {**self.images, **disabled}, {**self.notification, **disabled})
        self.assertEqual(self.told("told"), ({**self.images, **disabled}, {**self.notification, **disabled}))
        stream = {"StreamName": self.name("told")}
        self.kinesis_video.update_image_generation_configuration(**stream)
        self.assertEqual(self.told("told"), (None, {**self.notification, **disabled}))
        self.kinesis_video.update_notification_configuration(**stream)
        self.assertEqual(self.told("told"), (None, None))

    def test_the_quality_has_a_default_and_png_has_none(self):
        self.create("quality", DataRetentionInHours=2)
        plain = {name: value for name, value in self.images.items() if name not in ["FormatConfig", "WidthPixels", "HeightPixels"]}
        self.update("quality", plain)
        images, _ = self.told("quality")
        self.assertIn(images.get("FormatConfig"), [None, {"JPEGQuality": "80"}])
        self.assertNotIn("WidthPixels", images)
        self.update("quality", {**plain, "Format": "PNG"})
        self.assertEqual(self.told("quality")[0], {**plain, "Format": "PNG"})

    def test_they_are_not_for_streams_that_keep_nothing_or_are_not_there(self):
        for code, name in [("NoDataRetentionException", "live"), ("ResourceNotFoundException", "other")]:
            stream = {"StreamName": self.name(name)}
            update = self.kinesis_video.update_image_generation_configuration
            self.refused(code, update, **stream, ImageGenerationConfiguration=self.images)
            update = self.kinesis_video.update_notification_configuration
            self.refused(code, update, **stream, NotificationConfiguration=self.notification)
        for describe in ["image_generation", "notification"]:
            describe = getattr(self.kinesis_video, f"describe_{describe}_configuration")
            self.refused("ResourceNotFoundException", describe, StreamName=self.name("other"))

    def test_destinations_that_are_none_are_refused(self):
        self.create("refused", DataRetentionInHours=2)
        unchecked = client(validates=False)
        stream = {"StreamName": self.name("refused")}
        for uri in ["ftp://a/b", "s3:", "folder://../up", ""]:
            destination = {**self.images["DestinationConfig"], "Uri": uri}
            wanted = {**self.images, "DestinationConfig": destination}
            update = unchecked.update_image_generation_configuration
            self.refused("InvalidArgumentException", update, **stream, ImageGenerationConfiguration=wanted)
        for uri in ["s3://bucket", "receiver.example", ""]:
            wanted = {"Status": "ENABLED", "DestinationConfig": {"Uri": uri}}
            update = unchecked.update_notification_configuration
            self.refused("InvalidArgumentException", update, **stream, NotificationConfiguration=wanted)
        self.refused(
            "InvalidArgumentException",
            unchecked.update_image_generation_configuration,
            **stream,
            ImageGenerationConfiguration={**self.images, "SamplingInterval": 199},
        )
