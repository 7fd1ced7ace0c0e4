package org.example.reviews

import android.app.Activity
import android.os.Bundle
import android.widget.Button
import android.widget.EditText
import android.widget.TextView
import com.google.mediapipe.tasks.text.textclassifier.TextClassifier
import java.util.concurrent.Executors

/** A text in, its label and probability out. */
class MainActivity : Activity() {
    // One thread, because a TextClassifier answers one text at a time.
    private val background = Executors.newSingleThreadExecutor()
    private val classifier by lazy { TextClassifier.createFromFile(this, "classifier.tflite") }

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        setContentView(R.layout.main)
        val review = findViewById<EditText>(R.id.review)
        val answer = findViewById<TextView>(R.id.answer)
        findViewById<Button>(R.id.classify).setOnClickListener {
            val text = review.text.toString()
            background.execute {
                val start = System.nanoTime()
                val best = classifier.classify(text).classificationResult().classifications()[0].categories()
                    .maxBy { it.score() }
                val milliseconds = (System.nanoTime() - start) / 1_000_000
                runOnUiThread { answer.text = "%s  %.3f  (%d ms)".format(best.categoryName(), best.score(), milliseconds) }
            }
        }
    }

    override fun onDestroy() {
        background.execute { classifier.close() }
        background.shutdown()
        super.onDestroy()
    }
}
